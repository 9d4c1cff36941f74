//! What the program says of itself.

use crate::place::Place;

#[test]
fn the_help_fits_a_small_terminal_s_patience() {
    insta::assert_snapshot!(Place::new().run(&["--help"]));
}

#[test]
fn each_command_has_a_help_of_its_own() {
    let own = |args: &[&str]| {
        let help = Place::new().run(args);
        // What all commands share is in the program's own help.
        let (own, shared) = help.split_once("\nCluster:").expect("the shared options come after a command's own");
        assert!(shared.ends_with("--- stderr\n--- exit code 0\n"), "{shared}");
        own.trim_end().to_owned()
    };
    let commands: [&[&str]; 16] = [
        &["status", "-h"],
        &["strays", "-h"],
        &["history", "-h"],
        &["automation", "-h"],
        &["config", "-h"],
        &["config", "diff", "-h"],
        &["config", "render", "-h"],
        &["plan", "-h"],
        &["apply", "-h"],
        &["undo", "-h"],
        &["run", "-h"],
        &["run", "list", "-h"],
        &["run", "show", "-h"],
        &["run", "resume", "-h"],
        &["drill", "-h"],
        &["version", "-h"],
    ];
    insta::assert_snapshot!(commands.map(own).join("\n\n"));
}

#[test]
fn the_version_is_data() {
    insta::assert_snapshot!(Place::new().run_all(&[&["version"], &["--version"]]));
}
