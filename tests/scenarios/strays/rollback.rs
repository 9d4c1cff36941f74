//! Back to the common tag: all that moved together, nothing else, and not into the outage.

use super::*;

#[test]
fn a_rollback_sets_the_common_tag_of_before_on_all_that_moved() {
    let snapshot = strays(30, 12);
    let plan = rollback(&snapshot, |_| {}).expect("a plan");
    let moved = images(&plan);
    assert_eq!(moved.len(), 8, "all components but the CronJob: {moved:?}");
    for (name, from, to) in &moved {
        assert!(
            from.ends_with(&format!("{name}:{BAD_TAG}")) && to.ends_with(&format!("{name}:{GOOD_TAG}")),
            "{from} {to}"
        );
    }
    assert_eq!(plan.confirmation, Confirmation::TagTail("1b2c".to_owned()));
    assert!(plan.warnings.iter().any(|line| line.contains("post-test-infra-deploy-prow")), "{:?}", plan.warnings);
    assert_eq!(plan, rollback(&snapshot, |_| {}).expect("the same plan"), "plans are deterministic");
}

#[test]
fn components_go_back_in_the_order_in_which_they_came() {
    let mut snapshot = strays(3, 3);
    let Source::Known { value: rollouts, .. } = &mut snapshot.service.rollouts else { panic!("known rollouts") };
    for rollout in rollouts.iter_mut().filter(|rollout| rollout.current) {
        let first = rollout.component.name == "tide";
        rollout.began = Some(at(if first { "2019-02-05T16:47:00Z" } else { "2019-02-05T16:47:30Z" }));
    }
    let names: Vec<String> =
        images(&rollback(&snapshot, |_| {}).expect("a plan")).into_iter().map(|(n, _, _)| n).collect();
    assert_eq!(names[..3], ["tide", "crier", "deck"]);
}

#[test]
fn where_history_does_not_tell_the_person_names_the_tag() {
    let mut silent = strays(3, 3);
    silent.service.rollouts = seen(Vec::new());
    let refusal = rollback(&silent, |_| {}).unwrap_err();
    assert!(refusal.hint.contains("--to"), "{refusal:?}");
    let plan = rollback(&silent, |request| request.to = Some("v20190129-1b2c".to_owned())).expect("a plan");
    assert_eq!(images(&plan).len(), 8);
    assert!(plan.warnings.iter().any(|line| line.contains("may not exist")), "{:?}", plan.warnings);

    let mut denied = strays(3, 3);
    denied.service.rollouts = Source::Denied { verb: "list replicasets".to_owned() };
    assert_eq!(rollback(&denied, |_| {}).unwrap_err().kind, FailureKind::Forbidden);

    let mut torn = strays(3, 3);
    let Source::Known { value: rollouts, .. } = &mut torn.service.rollouts else { panic!("known rollouts") };
    rollouts.retain(|rollout| rollout.current || rollout.component.name != "tide");
    let refusal = rollback(&torn, |_| {}).unwrap_err();
    assert!(refusal.reason.contains("tide") && refusal.hint.contains(GOOD_TAG), "{refusal:?}");

    let mut unequal = strays(3, 3);
    let Source::Known { value: rollouts, .. } = &mut unequal.service.rollouts else { panic!("known rollouts") };
    for rollout in rollouts.iter_mut().filter(|rollout| !rollout.current && rollout.component.name == "deck") {
        rollout.tag = "v20190125-2aca6".to_owned();
    }
    assert!(rollback(&unequal, |_| {}).unwrap_err().reason.contains("no common tag"));

    let refusal = rollback(&strays(3, 3), |request| request.to = Some("a tag".to_owned())).unwrap_err();
    assert_eq!(refusal.kind, FailureKind::Usage);
}

#[test]
fn half_a_rollback_is_finished_only_with_a_named_tag() {
    let mut half = strays(3, 3);
    for name in ["crier", "deck", "prow-controller-manager"] {
        run(named(&mut half, name), GOOD_TAG, "2019-02-05T17:26:00Z");
    }
    let roles: Vec<Component> = components(&mut half).clone();
    let Source::Known { value: rollouts, .. } = &mut half.service.rollouts else { panic!("known rollouts") };
    for component in roles.iter().filter(|c| ["crier", "deck", "prow-controller-manager"].contains(&c.role.as_str())) {
        rollouts.retain(|rollout| rollout.component != component.object);
        rollouts.push(rollout(component, GOOD_TAG, 9, "2019-01-29T17:02:00Z", true));
        rollouts.push(rollout(component, BAD_TAG, 8, "2019-02-05T16:47:30Z", false));
    }
    let refusal = rollback(&half, |_| {}).unwrap_err();
    assert!(
        refusal.hint.contains(&format!("--to {GOOD_TAG}")),
        "the other way round it would undo itself: {refusal:?}"
    );
    let rest = rollback(&half, |request| request.to = Some(GOOD_TAG.to_owned())).expect("a plan");
    let names: Vec<String> = images(&rest).into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(names, ["ghproxy", "hook", "horologium", "sinker", "tide"]);
}

#[test]
fn a_second_rollback_does_not_lead_back_to_the_outage() {
    let rolled = rolled_back(strays(3, 3));
    let refusal = rollback(&rolled, |_| {}).unwrap_err();
    assert!(refusal.reason.contains(&format!("{BAD_TAG} came after it")), "{refusal:?}");
    assert!(refusal.hint.contains("--to TAG"), "{refusal:?}");

    // The old ReplicaSets were gone, so the rollback made new ones: then the day in the tags tells.
    let mut anew = rolled.clone();
    let Source::Known { value: rollouts, .. } = &mut anew.service.rollouts else { panic!("known rollouts") };
    for rollout in rollouts.iter_mut().filter(|rollout| rollout.current) {
        rollout.created = rollout.began;
    }
    assert!(rollback(&anew, |_| {}).unwrap_err().reason.contains("came after it"));

    // Something older is known: the way goes on back, past what is newer than what runs.
    let older = "v20190125-2aca6";
    let mut further = rolled;
    let all: Vec<Component> = components(&mut further).iter().filter(|c| c.desired > 0).cloned().collect();
    let Source::Known { value: rollouts, .. } = &mut further.service.rollouts else { panic!("known rollouts") };
    rollouts.extend(all.iter().map(|component| rollout(component, older, 6, "2019-01-25T17:00:00Z", false)));
    let plan = rollback(&further, |_| {}).expect("a plan");
    assert!(images(&plan).iter().all(|(_, from, to)| from.ends_with(GOOD_TAG) && to.ends_with(older)));
}

#[test]
fn what_a_rollback_leaves_at_the_bad_version_is_said() {
    let mut snapshot = strays(3, 3);
    named(&mut snapshot, "deck").spec_images.push(format!("gcr.io/k8s-prow/helper:{BAD_TAG}"));
    named(&mut snapshot, "tide").object.namespace = "prow-two".to_owned();
    let config = named(&mut snapshot, "hook").config.config_path.as_ref().and_then(|path| path.config_map.clone());
    let Source::Known { value: maps, .. } = &mut snapshot.service.config_maps else { panic!("known maps") };
    let state = maps.get_mut(&config.expect("hook reads one")).expect("the map");
    let value = state.values.values_mut().next().expect("a file");
    value.extend_from_slice(format!("# clonerefs: gcr.io/k8s-prow/clonerefs:{BAD_TAG}\n").as_bytes());
    let said = rollback(&snapshot, |_| {}).expect("a plan").warnings.join("\n");
    for what in ["deck has another container at that version", "utility images", "several namespaces"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let mut blind = strays(3, 3);
    blind.service.rollouts = lost();
    let plan = rollback(&blind, |request| request.to = Some(GOOD_TAG.to_owned())).expect("a plan");
    assert!(plan.warnings.iter().any(|line| line.contains("cannot be read")), "{:?}", plan.warnings);
    assert!(!plan.warnings.iter().any(|line| line.contains("ever had")), "unknown is not empty");
}

#[test]
fn versions_are_not_mixed_without_a_word() {
    let snapshot = strays(3, 3);
    let some = |request: &mut Request| request.components = vec!["deck".to_owned(), "tide".to_owned()];
    assert!(rollback(&snapshot, some).unwrap_err().hint.contains("mixed-tags"));
    let plan = rollback(&snapshot, |request| {
        some(request);
        overriding(request, OverrideId::MixedTags);
    })
    .expect("a plan");
    assert_eq!(images(&plan).len(), 2);
    assert!(plan.warnings.iter().any(|line| line.contains("override mixed-tags")));
    let refusal = rollback(&snapshot, |request| request.components = vec!["plonk".to_owned()]).unwrap_err();
    assert!(refusal.kind == FailureKind::Usage && refusal.hint.contains("prow-controller-manager"), "{refusal:?}");
}

#[test]
fn the_version_that_it_began_with_and_one_that_nobody_had_need_a_word() {
    let rolled = rolled_back(strays(3, 3));
    let to = |tag: &'static str| move |request: &mut Request| request.to = Some(tag.to_owned());
    let refusal = rollback(&rolled, to(BAD_TAG)).unwrap_err();
    assert!(refusal.reason.contains("the version that the strays began with"), "{refusal:?}");
    assert!(refusal.hint.contains("--override known-bad"), "{refusal:?}");
    let plan = rollback(&rolled, |request| {
        to(BAD_TAG)(request);
        overriding(request, OverrideId::KnownBad);
    })
    .expect("a plan");
    assert!(plan.title.contains(&format!("FORWARD to {BAD_TAG}")), "{}", plan.title);
    assert!(plan.warnings.iter().any(|line| line.contains("override known-bad") && line.contains("knows better")));

    let refusal = rollback(&rolled, to("v20190130-never")).unwrap_err();
    assert!(refusal.hint.contains("--override unknown-tag"), "{refusal:?}");
    let plan = rollback(&rolled, |request| {
        to("v20190130-never")(request);
        overriding(request, OverrideId::UnknownTag);
    });
    assert!(plan.expect("a plan").title.contains("back to v20190130-never"));
    let plan = rollback(&strays(3, 3), to(GOOD_TAG)).expect("no word is needed for the way back");
    assert!(plan.basis.reason.is_some_and(|reason| !reason.contains("--to")), "the screen's choice is no flag");
}

#[test]
fn an_undo_says_that_it_leads_back_into_the_outage_and_mixes_no_versions_without_a_word() {
    let broken = strays(3, 3);
    let all = rollback(&broken, |_| {}).expect("a plan");
    let rolled = rolled_back(broken);
    // Undoes the first so many steps, as if the run had been of those alone.
    let undone = |steps: usize, overrides: &[Override]| {
        let source = UndoSource {
            run: "r-0002".to_owned(),
            steps: all.steps[..steps]
                .iter()
                .map(|step| UndoStep { n: step.n, write: step.write.clone(), prior: None, made: None })
                .collect(),
        };
        let mut live = LiveObjects::default();
        for step in &source.steps {
            let Write::PatchImage { object, at, images } = &step.write else { panic!("{step:?}") };
            let state = WorkloadState {
                uid: at.uid.clone(),
                resource_version: "88430000".to_owned(),
                images: images.iter().map(|change| (change.container.clone(), change.to.clone())).collect(),
                paused: false,
                last_writer: None,
            };
            live.workloads.insert(object.clone(), Some(state));
        }
        let plan = undo::plan(&source, &live, &all.clusters, rolled.taken_at).expect("a plan");
        undo::judged(plan, &rolled, &diagnose(&rolled), overrides)
    };
    let back = undone(8, &[]).expect("all go together");
    assert!(back.warnings[0].contains(&format!("{BAD_TAG} is the version that the strays began with")), "{back:?}");
    assert_eq!(back.digest, back.compute_digest());
    let refusal = undone(3, &[]).unwrap_err();
    assert!(refusal.reason.contains("of different versions") && refusal.hint.contains("mixed-tags"), "{refusal:?}");
    let word = |reason: &str| [Override { id: OverrideId::MixedTags, reason: reason.to_owned() }];
    let back = undone(3, &word("only these are bad")).expect("with a word");
    assert!(back.warnings.iter().any(|line| line.contains("only these are bad")));
    assert_eq!(undone(3, &word(" ")).unwrap_err().kind, FailureKind::Usage);
}

#[test]
fn what_is_off_on_purpose_stays_off() {
    let mut snapshot = strays(3, 3);
    named(&mut snapshot, "ghproxy").desired = 0;
    run(named(&mut snapshot, "branchprotector"), BAD_TAG, "2019-02-05T16:47:30Z");
    let plan = rollback(&snapshot, |_| {}).expect("a plan");
    let names: BTreeSet<String> = images(&plan).into_iter().map(|(name, _, _)| name).collect();
    assert!(!names.contains("ghproxy") && !names.contains("branchprotector"), "{names:?}");
    for name in ["ghproxy", "branchprotector"] {
        let said = plan.warnings.iter().any(|line| line.contains(name) && line.contains("--component"));
        assert!(said, "{name}: {:?}", plan.warnings);
    }
    let all = |request: &mut Request| {
        request.components = components(&mut snapshot.clone()).iter().map(|c| c.object.name.clone()).collect();
    };
    let plan = rollback(&snapshot, all).expect("a plan");
    assert_eq!(images(&plan).len(), 9, "asked for by name, they move as well");
}

#[test]
fn a_paused_deployment_would_be_half_a_rollback() {
    let mut snapshot = strays(3, 3);
    named(&mut snapshot, "sinker").paused = true;
    let refusal = rollback(&snapshot, |_| {}).unwrap_err();
    assert!(refusal.reason.contains("sinker is paused") && refusal.hint.contains("rollout resume"), "{refusal:?}");
}

#[test]
fn a_tag_that_would_not_load_todays_configuration_needs_a_word() {
    // Until 2019-01-22 Prow refused two presets that share a key.
    let mut snapshot = strays(3, 3);
    snapshot.service.config_maps = crate::support::incident().service.config_maps;
    let old = |request: &mut Request| request.to = Some("v20190118-a1f5e0c".to_owned());
    let refusal = rollback(&snapshot, old).unwrap_err();
    assert!(refusal.reason.contains("would not load") && refusal.hint.contains("would-not-load"), "{refusal:?}");
    let plan = rollback(&snapshot, |request| {
        old(request);
        overriding(request, OverrideId::WouldNotLoad);
        overriding(request, OverrideId::UnknownTag);
    });
    assert!(plan.expect("a plan").warnings.iter().any(|line| line.contains("override would-not-load")));
    rollback(&snapshot, |_| {}).expect("the later tag loads it");
}

#[test]
fn a_rollback_is_proven_by_pods_and_says_what_hangs() {
    let broken = strays(3, 3);
    let plan = rollback(&broken, |_| {}).expect("a plan");
    let not_yet = |snapshot: &Snapshot| match verify(&plan, snapshot) {
        VerifyState::Holds => String::new(),
        VerifyState::NotYet { what } | VerifyState::Refused { what } => what,
        VerifyState::Settling { running } => running.join(", "),
    };
    assert!(not_yet(&broken).contains("does not ask for"), "{}", not_yet(&broken));
    let mut done = rolled_back(broken);
    assert_eq!(verify(&plan, &done), VerifyState::Holds);
    let hook = named(&mut done, "hook");
    hook.pods[1].ready = false;
    hook.pods[1].containers[0].state = prow_breakglass::model::ContainerState::Waiting {
        reason: "ImagePullBackOff".to_owned(),
        message: "Back-off pulling image".to_owned(),
    };
    assert!(not_yet(&done).contains("hook HANGS with 1/2") && not_yet(&done).contains("ImagePullBackOff"));
    let container = &mut named(&mut done, "hook").pods[1].containers[0];
    container.state = prow_breakglass::model::ContainerState::Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: "back-off 40s restarting failed container".to_owned(),
    };
    container.last_fatal = Some(prow_breakglass::model::LogLine {
        level: "fatal".to_owned(),
        msg: "Error starting config agent.".to_owned(),
        error: "duplicated preset label : preset-x".to_owned(),
        component: "hook".to_owned(),
        at: None,
    });
    assert!(
        not_yet(&done).contains("CrashLoopBackOff: Error starting config agent: duplicated preset label"),
        "{}",
        not_yet(&done)
    );
    let tide = named(&mut done, "tide");
    tide.pods.clear();
    tide.trouble = Some("pods \"tide-1\" is forbidden: exceeded quota".to_owned());
    assert!(not_yet(&done).contains("tide HANGS with 0/1") && not_yet(&done).contains("exceeded quota"));
}

#[test]
fn a_rollback_is_undone_by_the_same_road() {
    let done = rollback(&strays(3, 3), |_| {}).expect("a plan");
    let source = UndoSource {
        run: "r-0007".to_owned(),
        // It stopped after the third.
        steps: done.steps[..3]
            .iter()
            .map(|s| UndoStep { n: s.n, write: s.write.clone(), prior: None, made: None })
            .collect(),
    };
    let state = |step: &UndoStep, second: bool| {
        let Write::PatchImage { at, images, .. } = &step.write else { panic!("{step:?}") };
        let image = |change: &prow_breakglass::model::ImageChange| {
            let now = if second { "somebody/else:v3".to_owned() } else { change.to.clone() };
            (change.container.clone(), now)
        };
        WorkloadState {
            uid: at.uid.clone(),
            resource_version: "88430000".to_owned(),
            images: images.iter().map(image).collect(),
            paused: false,
            last_writer: Some("kubectl-set".to_owned()),
        }
    };
    let mut live = LiveObjects::default();
    for (n, step) in source.steps.iter().enumerate() {
        live.workloads.insert(step.write.object().clone(), Some(state(step, n == 2)));
    }
    let back = undo::plan(&source, &live, &done.clusters, at("2019-02-05T17:40:00Z")).expect("a plan");
    for (_, from, to) in images(&back) {
        assert!(from.ends_with(GOOD_TAG) && to.ends_with(BAD_TAG), "{from} {to}");
    }
    assert_eq!(back.steps.len(), 2);
    assert!(back.refusals[0].reason.contains("kubectl-set"), "another one's image is left alone: {:?}", back.refusals);
    assert_eq!(back.confirmation, Confirmation::TagTail("dda9".to_owned()));
    let Write::PatchImage { at, .. } = &back.steps[0].write else { panic!("{back:?}") };
    assert_eq!(at.resource_version, "88430000");
}

#[test]
fn what_the_older_tag_refused_is_a_fact_only_beside_what_lay_beside_it_then() {
    let mut snapshot = strays(3, 3);
    let identity = snapshot.service.identity.known().expect("known").clone();
    let maps = snapshot.service.config_maps.known().expect("known ConfigMaps");
    let (key, map) = maps.first_key_value().expect("there is one");
    let digest = |value: &Vec<u8>| prow_breakglass::model::sha256_hex(value);
    let refused = |beside: Option<&str>| prow_breakglass::model::RefusedContent {
        cluster_server: identity.server.clone(),
        cluster_uid: identity.uid.clone(),
        config_map: key.clone(),
        keys: map.values.iter().map(|(key, value)| (key.clone(), digest(value))).collect(),
        beside: beside.map(str::to_owned),
        culprits: Vec::new(),
        images: vec![format!("gcr.io/k8s-prow/hook:{GOOD_TAG}")],
        error: "duplicated preset".to_owned(),
        at: at("2019-01-30T00:00:00Z"),
    };
    let (same, other) = (refused(None), refused(Some("another digest")));
    for (content, basis) in [(same, "FACT: it refused"), (other, "GUESS: it refused")] {
        snapshot.refused = vec![content];
        let refusal = rollback(&snapshot, |_| {}).unwrap_err();
        assert!(refusal.reason.contains(basis) && refusal.hint.contains("would-not-load"), "{refusal:?}");
    }
}
