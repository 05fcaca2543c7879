use serde_json::json;

use super::*;

/// A pod with one container with the given fields.
fn container(fields: Value) -> Value {
    let mut container = json!({"name": "c"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"spec": {"containers": [container]}})
}

/// The rest of the loser's container.
fn left(loser: Value, winner: Value) -> Value {
    let mut loser = container(loser);
    give_way(&mut loser, &container(winner));
    let mut left = loser["spec"]["containers"][0].clone();
    left.as_object_mut().unwrap().remove("name");
    left
}

#[test]
fn the_losers_choice_goes_and_the_rest_stays() {
    for (loser, winner, wanted) in [
        (
            json!({"lifecycle": {"preStop": {"exec": {"command": ["drain"]}}, "postStart": {"exec": {"command": ["w"]}}}}),
            json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}),
            json!({"lifecycle": {"preStop": {}, "postStart": {"exec": {"command": ["w"]}}}}),
        ),
        (
            json!({"readinessProbe": {"httpGet": {"port": 1}, "periodSeconds": 3}}),
            json!({"readinessProbe": {"tcpSocket": {"port": 2}}}),
            json!({"readinessProbe": {"periodSeconds": 3}}),
        ),
        (
            json!({"env": [{"name": "A", "value": "x"}, {"name": "B", "value": "y"}]}),
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            json!({"env": [{"name": "A"}, {"name": "B", "value": "y"}]}),
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}),
            json!({"env": [{"name": "A", "value": "x"}]}),
            json!({"env": [{"name": "A"}]}),
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}),
            json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {}}}]}),
            json!({"env": [{"name": "A", "valueFrom": {}}]}),
        ),
        (
            json!({"volumeMounts": [{"mountPath": "/a", "name": "v", "subPath": "s"}]}),
            json!({"volumeMounts": [{"mountPath": "/a", "name": "w", "subPathExpr": "$(A)"}]}),
            json!({"volumeMounts": [{"mountPath": "/a", "name": "v"}]}),
        ),
        (
            json!({"securityContext": {"runAsUser": 1, "seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}}),
            json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}),
            json!({"securityContext": {"runAsUser": 1, "seccompProfile": {}}}),
        ),
    ] {
        assert_eq!(left(loser.clone(), winner), wanted, "{loser}");
    }
}

#[test]
fn the_same_choice_is_left_to_the_merge() {
    for fields in [
        json!({"readinessProbe": {"httpGet": {"port": 1}}}),
        json!({"env": [{"name": "A", "value": "x"}]}),
        json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}}),
    ] {
        assert_eq!(left(fields.clone(), fields.clone()), fields);
    }
}

#[test]
fn nothing_and_an_empty_text_choose_nothing() {
    let probe = json!({"livenessProbe": {"exec": {"command": ["a"]}}});
    assert_eq!(left(probe.clone(), json!({"livenessProbe": {"httpGet": null, "periodSeconds": 1}})), probe);
    let env = json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]});
    assert_eq!(left(env.clone(), json!({"env": [{"name": "A", "value": ""}]})), env);
}

#[test]
fn what_carries_a_directive_is_left_alone() {
    let loser = json!({"lifecycle": {"preStop": {"$retainKeys": ["exec"], "exec": {"command": ["a"]}}}});
    assert_eq!(left(loser.clone(), json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})), loser);
}

#[test]
fn long_lists_are_matched_as_short_ones_are() {
    let env =
        |field: &str| -> Value { (0..100).map(|n| json!({"name": format!("V{n}"), field: "x"})).collect() };
    let left = left(json!({"env": env("value")}), json!({"env": env("valueFrom")}));
    assert!(left["env"].as_array().unwrap().iter().all(|variable| variable.get("value").is_none()));
}

#[test]
fn a_volume_says_which_source_gave_way() {
    let own = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
    let mut volume = json!({"name": "v", "emptyDir": {}});
    assert_eq!(volume_gives_way(&mut volume, &own), Some(("emptyDir", "persistentVolumeClaim")));
    assert_eq!(volume, json!({"name": "v"}));
    let mut null = json!({"name": "v", "persistentVolumeClaim": null});
    assert_eq!(volume_gives_way(&mut null, &own), None);
    assert_eq!(null, json!({"name": "v"}), "a null would delete the user's own");
}

#[test]
fn a_null_beside_a_source_stays_and_alone_it_goes() {
    let forgotten = |mut volume: Value| {
        forget_null_sources(&mut volume);
        volume
    };
    assert_eq!(forgotten(json!({"name": "v", "emptyDir": null})), json!({"name": "v"}));
    for stays in [
        json!({"name": "v", "emptyDir": null, "csi": {}}),
        json!({"name": "v", "$patch": "delete", "csi": null}),
    ] {
        assert_eq!(forgotten(stays.clone()), stays);
    }
}

#[test]
fn claims_outside_the_lists_have_one_source() {
    let claim = |field: &str| json!({"spec": {"resourceClaims": [{"name": "gpu", field: "x"}]}});
    let mut loser = claim("resourceClaimName");
    give_way_outside_lists(&mut loser, &claim("resourceClaimTemplateName"));
    assert_eq!(loser, json!({"spec": {"resourceClaims": [{"name": "gpu"}]}}));
}

#[test]
fn violations_name_container_or_volume_and_field() {
    let mut pod = container(json!({
        "livenessProbe": {"exec": {}, "grpc": {}},
        "env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {}, "secretKeyRef": {}}}],
        "envFrom": [{"configMapRef": {}, "secretRef": {}}],
    }));
    pod["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}, "csi": {}}]);
    pod["spec"]["resourceClaims"] =
        json!([{"name": "g", "resourceClaimName": "a", "resourceClaimTemplateName": "b"}]);
    let found: Vec<String> = violations(&pod).iter().map(ToString::to_string).collect();
    let wanted = [
        "container \"c\": env[\"A\"] has value and valueFrom",
        "container \"c\": env[\"A\"].valueFrom has fieldRef and secretKeyRef",
        "container \"c\": envFrom[0] has configMapRef and secretRef",
        "container \"c\": livenessProbe has exec and grpc",
        "spec: resourceClaims[\"g\"] has resourceClaimName and resourceClaimTemplateName",
        "volume \"v\": has csi and emptyDir",
    ];
    let wanted: Vec<String> =
        wanted.iter().map(|sentence| format!("{sentence}; an API server accepts only one")).collect();
    assert_eq!(found, wanted);
    assert!(violations(&container(json!({"livenessProbe": {"exec": {}}}))).is_empty());
}
