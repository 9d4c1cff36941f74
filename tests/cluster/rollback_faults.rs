//! Rollbacks that fail: at any component, for want of an image, in a paused Deployment, against a quota. Nothing half-done is
//! left unsaid, and it can be finished or taken back.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::strays_support::{DEFAULT, NAMESPACE, at_tag, client_in, images, number, plan, text_of, until};
use crate::support::{Ran, Tool, block_on, eventually, written_since};

fn patch(bed: &Bed, name: &str, change: &Value) {
    block_on(async {
        let deployments: Api<Deployment> = Api::namespaced(client_in(bed, DEFAULT).await, NAMESPACE);
        let change = Patch::Strategic(change);
        deployments.patch(name, &PatchParams::default(), &change).await.expect("patch");
    });
}

fn set_image(bed: &Bed, name: &str, image: &str) {
    let containers = json!([{ "name": name, "image": image }]);
    patch(bed, name, &json!({ "spec": { "template": { "spec": { "containers": containers } } } }));
}

/// The newest run.
fn newest(tool: &Tool) -> String {
    let runs = tool.run(&["run", "list", "-o", "json"]).ended(0).json();
    runs["runs"][0]["run"].as_str().unwrap_or_default().to_owned()
}

/// How each step of a run that was begun ended.
fn outcomes(tool: &Tool, run: &str) -> Vec<String> {
    let document = tool.run_document(run);
    let steps = document["steps"].as_array().expect("steps").iter();
    steps.map(|step| step["outcome"].as_str().unwrap_or("open").to_owned()).collect()
}

/// A bed on which every component is at the bumped tag.
struct Scene {
    bed: Bed,
    tool: Tool,
    old: String,
    new: String,
}

impl Scene {
    fn plan(&self, name: &str) -> String {
        let (file, made) = plan(&self.tool, name, &["rollback", "--to", &self.old]);
        made.ended(0);
        file
    }

    fn at(&self, tag: &str) -> usize {
        at_tag(&self.bed, DEFAULT, tag)
    }

    /// Rolls back and watches for so long; it hangs, and says so with these words and with the ways on.
    fn hangs(&self, plan: &str, wait: &str, said: &[&str]) -> String {
        let mut args = self.tool.apply_args(plan, "9");
        args.extend(["--wait", wait]);
        let ran = self.tool.run(&args).ended(4).says(said);
        let run = newest(&self.tool);
        let ran = ran.says(&["9 done, 0 failed", &format!("to take it back: prow-breakglass undo {run}")]);
        assert_eq!(ran.lines().last().expect("lines")["verified"], false, "{}", ran.out);
        assert_eq!(outcomes(&self.tool, &run), ["done"; 9]);
        run
    }

    fn undo(&self, run: &str, count: usize) {
        let undo = self.tool.undo(run);
        self.tool.apply(&undo, &count.to_string()).ended(0).says(&["verified"]);
        assert_eq!((self.at(&self.new), self.at(&self.old)), (9, 0), "as it was before {run}");
    }

    /// The first `k` are done when somebody else's image stands in the way of the next one.
    fn fails_after(&mut self, k: usize) {
        let file = self.plan(&format!("fail-{k}.json"));
        let plan: Value = serde_json::from_str(&text_of(&file)).expect("JSON");
        let steps = plan["steps"].as_array().expect("steps");
        assert_eq!(steps.len(), 9, "{plan}");
        let (at, name) = (k + 1, steps[k]["object"]["name"].as_str().expect("a name"));
        let was = images(&self.bed, DEFAULT)[name].clone();
        let last = newest(&self.tool);
        // After the preview of `apply`; before, the preview would refuse.
        let held = self.tool.start_with_fault(&self.tool.apply_args(&file, "9"), &format!("hold-before-send:{at}"));
        until("the run's beginning", || newest(&self.tool) != last);
        let run = newest(&self.tool);
        until("the intent", || {
            let document = self.tool.run_document(&run);
            let mut steps = document["steps"].as_array().into_iter().flatten();
            steps.any(|step| number(step, "/n") == at && step["inDoubt"] == true)
        });
        assert_eq!(self.at(&self.old), k, "one by one, in order");
        set_image(&self.bed, name, "gcr.io/k8s-prow/elsewhere:v3");
        // A stop lets the held step go on: into the conflict.
        rustix::process::kill_process(rustix::process::Pid::from_child(&held), rustix::process::Signal::TERM)
            .expect("it runs");
        let ended = Ran::of(&["apply"], held.wait_with_output().expect("the program"));
        let ended = ended.ended(if k == 0 { 3 } else { 4 });
        let way_on = format!("step {at}, {name}, is failed: no further component is touched");
        let counted = format!("{k} done, 1 failed, 0 skipped, 0 unknown, {} left", 9 - at);
        let ended = ended.says(&[&way_on, "`run resume`", "`undo`", &counted, "were changed"]);
        assert_eq!(k > 0, ended.err.contains(&format!("undo {run}")), "the way back: {}", ended.err);
        assert_eq!((self.at(&self.old), self.at(&self.new)), (k, 8 - k), "nobody else is touched");
        let mut wanted = vec!["done"; k];
        wanted.push("failed");
        assert_eq!(outcomes(&self.tool, &run), wanted);

        set_image(&self.bed, name, &was);
        if k.is_multiple_of(2) {
            let most =
                ["--execute", "--context", &self.tool.context, "--expect", &(9 - k).to_string(), "--wait", "60s"];
            let resumed = self.tool.run(&[&["run", "resume", &run][..], &most].concat());
            resumed.ended(0).says(&["verified: 9 component(s) Ready"]);
            assert_eq!(self.at(&self.old), 9);
        } else {
            self.undo(&run, k);
        }
        self.bed.deploy(&self.new);
    }
}

#[test]
fn a_rollback_that_fails_anywhere_is_said_and_finished_or_undone() {
    let Some(bed) = Bed::start("rollback-fast") else { return };
    let (old, new) = (bed.fact("oldTag").to_owned(), bed.fact("newTag").to_owned());
    let tool = Tool::on(&bed);
    let mut scene = Scene { bed, tool, old, new };
    for k in 0..9 {
        scene.fails_after(k);
    }

    // An image that nobody can pull.
    let deck = format!("deck:{}", scene.old);
    scene.bed.make_unpullable(&deck);
    let file = scene.plan("unpullable.json");
    let run = scene.hangs(&file, "30s", &["deck HANGS", "ImagePullBackOff"]);
    scene.undo(&run, 9);
    scene.bed.make_pullable(&deck);

    // A paused Deployment takes no image: neither in a plan, nor when it is paused after the plan was made.
    let file = scene.plan("before-the-pause.json");
    let before = scene.bed.audit_of_oncall().len();
    patch(&scene.bed, "tide", &json!({ "spec": { "paused": true } }));
    let said = ["tide is paused", "rollout resume"];
    scene.tool.run(&["plan", "rollback", "--to", &scene.old]).ended(3).says(&said);
    scene.tool.apply(&file, "9").ended(3).says(&said);
    assert_eq!((scene.at(&scene.new), written_since(&scene.bed, before)), (9, Vec::new()), "not even half of it");
    patch(&scene.bed, "tide", &json!({ "spec": { "paused": false } }));

    // A quota leaves no room for new pods.
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": { "name": "full" }, "spec": { "hard": { "pods": "1" } },
    }))
    .expect("a quota");
    let quotas = async |bed: &Bed| Api::<ResourceQuota>::namespaced(client_in(bed, DEFAULT).await, NAMESPACE);
    block_on(async {
        let quotas = quotas(&scene.bed).await;
        quotas.create(&PostParams::default(), &quota).await.expect("a quota");
        // Until it was counted, it holds nobody up.
        eventually("the quota counts", async || {
            let full = quotas.get("full").await.expect("the quota");
            full.status.and_then(|status| status.used).is_some_and(|used| used.contains_key("pods"))
        })
        .await;
    });
    let file = scene.plan("quota.json");
    let run = scene.hangs(&file, "20s", &["HANGS", "exceeded quota"]);
    block_on(async {
        quotas(&scene.bed).await.delete("full", &DeleteParams::default()).await.expect("no quota any more");
    });
    scene.undo(&run, 9);
}
