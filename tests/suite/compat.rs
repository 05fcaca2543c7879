//! What `compat: outrigger` does differently: every difference from a recorded answer has a rule, and every rule is needed.
//!
//! A rule belongs to a [`Quirk`]. Quirks that the recordings do not show have no rule: the tests of crate `injector` show both
//! sides of every quirk. A rule says which calls must have different answers, and where they may differ. A difference without a rule, a call
//! that is equal although a rule covers it, and a rule that no call needs all fail.

use std::collections::BTreeSet;

use outrigger::{
    config::InjectorConfig,
    gotypes::UNIONS,
    inject::post,
    names, pod,
    quirks::{Quirk, TABLE},
};
use serde_json::{Map, Value};

use super::conformance::{self, Call};

struct Rule {
    quirk: Quirk,
    /// Whether the answer to the call must differ for this reason.
    applies: fn(&InjectorConfig, &Call) -> bool,
    /// Whether this reason explains a difference at the path.
    explains: fn(&str) -> bool,
}

const RULES: &[Rule] = &[
    Rule {
        quirk: Quirk::RewriteProbesOfUnknownPorts,
        applies: |mesh, call| match conformance::answer(mesh, call) {
            Ok(outcome) => outcome.warnings().iter().any(|warning| warning.code == "UNKNOWN_PROBE_PORT"),
            Err(_) => false,
        },
        explains: is_handler,
    },
    Rule {
        quirk: Quirk::RewriteProbesWithHost,
        applies: |_, call| rewritten(call).any(has_host),
        explains: is_handler_or_table,
    },
    Rule {
        quirk: Quirk::ScrapeStatusPortOfMesh,
        applies: |mesh, call| {
            let ours = post::status_port(&call.pod, mesh.mesh_config(), mesh.quirks());
            ours != 0 && scraped(call).is_some_and(|port| port == mesh_port(mesh) && port != ours.to_string())
        },
        explains: |path| path == "/metadata/annotations/prometheus.io/port",
    },
    Rule {
        quirk: Quirk::UseStatusPortZero,
        applies: |mesh, call| {
            post::status_port(&call.pod, mesh.mesh_config(), mesh.quirks()) == 0
                && (scraped(call).is_some_and(|port| port == mesh_port(mesh)) || asks_port_zero(call))
        },
        explains: |path| {
            let of_proxy = path.ends_with("/env") || path.contains("/env/");
            path.starts_with("/metadata/annotations/prometheus.io/") || is_handler(path) || of_proxy
        },
    },
    Rule {
        quirk: Quirk::ScrapeWithoutAgent,
        applies: |mesh, call| {
            let had = pod::annotation(&call.pod, "prometheus.io/port");
            call.patched.as_ref().is_some_and(|patched| pod::find_sidecar(patched).is_none())
                && scraped(call).is_some_and(|port| port == mesh_port(mesh) && had != Some(port))
        },
        explains: |path| path.starts_with("/metadata/annotations/prometheus"),
    },
    Rule {
        quirk: Quirk::ReorderVariables,
        applies: |_, call| moved_to_the_end(call),
        explains: |path| path.contains("/env/"),
    },
    Rule {
        quirk: Quirk::ForgetOverrides,
        applies: |_, call| forgets_overrides(call),
        explains: is_container,
    },
    Rule {
        quirk: Quirk::TreatMovedProxyAsUsers,
        applies: |_, call| changes_list(call),
        explains: is_container,
    },
    Rule {
        quirk: Quirk::MoveExtendedContainers,
        applies: |_, call| {
            call.patched.is_some() && application(call.patched.as_ref()) != application(Some(&call.pod))
        },
        explains: |path| is_container(path) || path == "/metadata/annotations/sidecar.istio.io/status",
    },
    Rule {
        quirk: Quirk::ShowProxyInItsPlace,
        applies: |_, call| has_ports_before_others(call) || names_pod_after_proxy(call),
        explains: |path| path.contains("/env/") || path.ends_with("/env"),
    },
    Rule {
        quirk: Quirk::DuplicateProxyOfTemplates,
        applies: |_, call| {
            let asked = pod::annotation(&call.pod, names::ANNOTATION_TEMPLATES);
            asked.is_some_and(|asked| asked.contains(','))
                && call.patched.as_ref().is_some_and(has_two_proxies)
        },
        explains: |path| {
            is_container(path)
                || ["/spec/containers", "/metadata/annotations/sidecar.istio.io/status"].contains(&path)
        },
    },
    Rule {
        quirk: Quirk::MergeExclusiveFields,
        applies: |mesh, call| {
            call.patched.as_ref().is_some_and(has_several_of_one) && conformance::answer(mesh, call).is_ok()
        },
        explains: |path| {
            is_handler(path)
                || path.contains("/env/")
                || path.starts_with("/spec/volumes/")
                || path == OVERRIDES
        },
    },
    Rule {
        quirk: Quirk::RemoveVolumeSourcesLeftEmpty,
        applies: |_, call| {
            let Some(patched) = &call.patched else { return false };
            pod::spec_list(&call.pod, "volumes").iter().any(|own| {
                let after = pod::find(pod::spec_list(patched, "volumes"), pod::name(own));
                own["emptyDir"].is_object() && after.is_some_and(|after| after.get("emptyDir").is_none())
            })
        },
        explains: |path| path.starts_with("/spec/volumes/") && path.ends_with("/emptyDir"),
    },
    Rule {
        quirk: Quirk::EndNamespaceInNewline,
        applies: |_, call| {
            let inits = call.patched.as_ref().map(pod::init_containers).unwrap_or_default();
            let env = inits.iter().flat_map(|init| init["env"].as_array().into_iter().flatten());
            let mut namespace = env.filter(|variable| pod::name(variable) == "ISTIO_NAMESPACE");
            namespace.any(|variable| variable["value"].as_str().is_some_and(|value| value.ends_with('\n')))
        },
        explains: |path| path.starts_with("/spec/initContainers/") && path.ends_with("/value"),
    },
    Rule {
        quirk: Quirk::AcceptInvalidUserVolumes,
        applies: |mesh, call| {
            let said = conformance::answer(mesh, call).err().map(|refusal| refusal.to_string());
            call.allowed && said.is_some_and(|said| said.contains("sidecar.istio.io/userVolume"))
        },
        explains: |path| path == "ours denied",
    },
    Rule {
        quirk: Quirk::AcceptDuplicateContainers,
        applies: |mesh, call| {
            let refusal = conformance::answer(mesh, call).err();
            call.allowed && refusal.is_some_and(|refusal| refusal.reason() == "DUPLICATE_CONTAINER")
        },
        explains: |path| path == "ours denied",
    },
    Rule {
        quirk: Quirk::DuplicateProxyOfUser,
        applies: |_, call| {
            pod::find(pod::init_containers(&call.pod), names::CONTAINER_PROXY).is_some()
                && !has_two_proxies(&call.pod)
                && call.patched.as_ref().is_some_and(has_two_proxies)
        },
        explains: |path| {
            is_container(path) || ["/spec/containers", "/spec/initContainers", OVERRIDES].contains(&path)
        },
    },
    Rule {
        quirk: Quirk::TrustOverrides,
        applies: |_, call| call.patched.as_ref().is_some_and(|patched| has_unrecorded(&call.pod, patched)),
        explains: |path| path == OVERRIDES,
    },
];

const OVERRIDES: &str = "/metadata/annotations/proxy.istio.io/overrides";

/// Whether a part of a pod has several members of a union.
fn has_several_of_one(pod: &Value) -> bool {
    fn any(value: &Value, types: &[&str]) -> bool {
        let several = |object: &Map<String, Value>| {
            UNIONS.iter().filter(|union| types.contains(&union.of)).any(|union| {
                let is_set = |member: &&&str| {
                    object.get(**member).is_some_and(|value| !value.is_null() && value != "")
                };
                union.members.iter().filter(is_set).count() > 1
            })
        };
        match value {
            Value::Object(object) => several(object) || object.values().any(|value| any(value, types)),
            Value::Array(items) => items.iter().any(|item| any(item, types)),
            _ => false,
        }
    }
    // Told apart by their keys alone: handlers and variables look like nothing else in a container.
    let container = ["v1.Probe", "v1.LifecycleHandler", "v1.EnvVar", "v1.EnvVarSource"];
    let of = |list: &str, types: &[&str]| pod::spec_list(pod, list).iter().any(|item| any(item, types));
    of("containers", &container) || of("initContainers", &container) || of("volumes", &["v1.Volume"])
}

/// Whether the answer's templates extend a user's container that was added after the first injection.
fn has_unrecorded(before: &Value, patched: &Value) -> bool {
    let made = |pod: &Value| -> Option<Vec<Value>> {
        let status: Value = serde_json::from_str(pod::annotation(pod, names::ANNOTATION_STATUS)?).ok()?;
        status["containers"].as_array().cloned()
    };
    let (Some(earlier), Some(now)) = (made(before), made(patched)) else { return false };
    pod::containers(before).iter().any(|container| {
        let name = container["name"].clone();
        now.contains(&name) && !earlier.contains(&name)
    })
}

/// Whether both lists have a proxy.
fn has_two_proxies(pod: &Value) -> bool {
    [pod::containers(pod), pod::init_containers(pod)]
        .into_iter()
        .all(|list| pod::find(list, names::CONTAINER_PROXY).is_some())
}

#[test]
fn the_quirks_that_recordings_show_have_a_rule_and_no_others() {
    let ruled: BTreeSet<Quirk> = RULES.iter().map(|rule| rule.quirk).collect();
    assert_eq!(ruled.len(), RULES.len(), "a quirk has two rules");
    let recorded: BTreeSet<Quirk> = TABLE.iter().filter(|row| row.is_recorded).map(|row| row.quirk).collect();
    assert_eq!(ruled, recorded, "rules on the left, rows that are `recorded` on the right");
}

#[test]
#[ignore = "needs the recordings in ../shared/istio-golden"]
fn every_recorded_difference_under_compat_outrigger_has_a_rule_and_a_reason() {
    let folder = conformance::recordings();
    let calls = conformance::calls(&folder);
    let meshes = conformance::meshes(&folder, "outrigger", &calls, &Map::new());
    let mut failed = Vec::new();
    let mut counts = vec![0; RULES.len()];
    let mut equal = 0;
    for call in &calls {
        let mesh = &meshes[call.setting];
        let found = conformance::against_recording(mesh, call).unwrap_or_default();
        let rules: Vec<usize> = (0..RULES.len()).filter(|rule| (RULES[*rule].applies)(mesh, call)).collect();
        equal += usize::from(found.is_empty());
        for rule in &rules {
            counts[*rule] += 1;
            let explained = found.iter().any(|difference| (RULES[*rule].explains)(path(difference)));
            if !explained {
                failed.push(format!("{}: equal, though {} applies", call.name, RULES[*rule].quirk));
            }
        }
        for difference in &found {
            if !rules.iter().any(|rule| (RULES[*rule].explains)(path(difference))) {
                failed.push(format!("{} (setting {}): no rule for {difference}", call.name, call.setting));
            }
        }
    }
    println!("conformance, webhook calls under `compat: outrigger`: {equal}/{} equal", calls.len());
    for (rule, count) in RULES.iter().zip(&counts) {
        println!("  {count:3} {}: {}", rule.quirk, rule.quirk.row().reason);
        if *count == 0 {
            failed.push(format!("no call needs {}", rule.quirk));
        }
    }
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), failed.join("\n"));
}

/// The place of a difference as [`super::equal::differences`] writes it.
fn path(difference: &str) -> &str {
    difference.split_once(": ").map_or(difference, |(path, _)| path)
}

fn is_handler(path: &str) -> bool {
    ["/lifecycle/", "/readinessProbe/", "/livenessProbe/", "/startupProbe/"]
        .iter()
        .any(|part| path.contains(part))
}

fn is_handler_or_table(path: &str) -> bool {
    is_handler(path) || path.ends_with("/env") || path.contains("/env/")
}

/// The application's handlers that the recorded answer changed, in their original form.
fn rewritten(call: &Call) -> impl Iterator<Item = &Value> {
    const PLACES: [&str; 5] =
        ["/readinessProbe", "/livenessProbe", "/startupProbe", "/lifecycle/preStop", "/lifecycle/postStart"];
    let patched = call.patched.as_ref().unwrap_or(&Value::Null);
    let lists = ["containers", "initContainers"].into_iter();
    let own = lists.flat_map(|list| pod::spec_list(&call.pod, list).iter().map(move |own| (list, own)));
    let own = own.filter(|(_, own)| pod::name(own) != names::CONTAINER_PROXY);
    own.flat_map(move |(list, own)| {
        let after = pod::find(pod::spec_list(patched, list), pod::name(own));
        PLACES.into_iter().filter_map(move |place| {
            let handler = own.pointer(place)?;
            (after?.pointer(place) != Some(handler)).then_some(handler)
        })
    })
}

fn has_host(handler: &Value) -> bool {
    let action = ["httpGet", "tcpSocket"].iter().find_map(|action| handler[*action].as_object());
    let host = action.and_then(|action| action.get("host")?.as_str());
    host.is_some_and(|host| !host.is_empty())
}

/// The port that the recorded answer scrapes.
fn scraped(call: &Call) -> Option<&str> {
    pod::annotation(call.patched.as_ref()?, "prometheus.io/port")
}

fn mesh_port(mesh: &InjectorConfig) -> String {
    mesh.mesh_config()["defaultConfig"]["statusPort"].to_string()
}

/// Whether the recorded answer points a handler of the application to port 0.
fn asks_port_zero(call: &Call) -> bool {
    fn any(value: &Value) -> bool {
        match value {
            Value::Object(map) => {
                map.get("httpGet").is_some_and(|request| request["port"] == 0) || map.values().any(any)
            }
            Value::Array(items) => items.iter().any(any),
            _ => false,
        }
    }
    call.patched.as_ref().is_some_and(any)
}

/// Whether the recorded answer has cluster or network after variables that an earlier injection appended.
fn moved_to_the_end(call: &Call) -> bool {
    let Some(proxy) = call.patched.as_ref().and_then(pod::find_sidecar) else { return false };
    let order: Vec<&str> = proxy["env"].as_array().into_iter().flatten().map(pod::name).collect();
    let place = |wanted: &str| order.iter().position(|name| *name == wanted);
    let appended = [names::ENV_PROMETHEUS, names::ENV_APP_PROBERS].into_iter().filter_map(place).min();
    let moved = [names::ENV_CLUSTER_ID, names::ENV_NETWORK].into_iter().filter_map(place).max();
    appended.zip(moved).is_some_and(|(appended, moved)| moved > appended)
}

fn is_container(path: &str) -> bool {
    path.starts_with("/spec/containers/") || path.starts_with("/spec/initContainers/")
}

/// Whether the recorded answer has lost the user's containers that an earlier injection recorded.
fn forgets_overrides(call: &Call) -> bool {
    let Some(patched) = &call.patched else { return false };
    let parsed =
        |key: &str| pod::annotation(&call.pod, key).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let (Some(status), Some(overrides)) =
        (parsed(names::ANNOTATION_STATUS), parsed(names::ANNOTATION_OVERRIDES))
    else {
        return false;
    };
    ["containers", "initContainers"].iter().any(|list| {
        overrides[list].as_array().into_iter().flatten().any(|own| {
            let name = pod::name(own);
            let injected =
                status[list].as_array().is_some_and(|names| names.iter().any(|other| other == name));
            let found = pod::find_container(patched, name);
            injected && found.is_some_and(|found| !includes(found, own))
        })
    })
}

/// Whether an earlier injection placed the proxy in a different list than the recorded answer.
fn changes_list(call: &Call) -> bool {
    let status =
        pod::annotation(&call.pod, names::ANNOTATION_STATUS).and_then(|text| serde_json::from_str(text).ok());
    let (Some(status), Some(patched)): (Option<Value>, _) = (status, &call.patched) else { return false };
    [("containers", "initContainers"), ("initContainers", "containers")].iter().any(|(from, to)| {
        let injected = status[*from]
            .as_array()
            .is_some_and(|names| names.iter().any(|name| name == names::CONTAINER_PROXY));
        let has = |pod| pod::find(pod::spec_list(pod, to), names::CONTAINER_PROXY).is_some();
        injected && has(patched) && !has(&call.pod)
    })
}

/// Whether everything of `part` is in `whole`; elements of lists are found by name.
fn includes(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| includes(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) if part.iter().all(|part| part.get("name").is_some()) => {
            let same =
                |part: &Value, whole: &Value| whole.get("name") == part.get("name") && includes(whole, part);
            part.iter().all(|part| whole.iter().any(|whole| same(part, whole)))
        }
        (whole, part) => whole == part,
    }
}

/// The names of containers that are not the proxy, in order.
fn application(pod: Option<&Value>) -> Option<Vec<&str>> {
    let names = pod::containers(pod?).iter().map(pod::name);
    Some(names.filter(|name| *name != names::CONTAINER_PROXY).collect())
}

/// Whether the pod has its own proxy with ports before containers with ports, or among the init containers.
fn has_ports_before_others(call: &Call) -> bool {
    let has_ports = |container: &Value| container["ports"].as_array().is_some_and(|ports| !ports.is_empty());
    let is_proxy = |container: &Value| pod::name(container) == names::CONTAINER_PROXY;
    let injected = pod::annotation(&call.pod, names::ANNOTATION_STATUS).is_some();
    let mut after = pod::containers(&call.pod).iter().skip_while(|container| !is_proxy(container));
    let moved = after.next().is_some_and(has_ports) && after.any(has_ports);
    let native = pod::find(pod::init_containers(&call.pod), names::CONTAINER_PROXY).is_some_and(has_ports);
    variable(call, "ISTIO_META_POD_PORTS").is_some() && !injected && (moved || native)
}

fn names_pod_after_proxy(call: &Call) -> bool {
    let others =
        pod::containers(&call.pod).iter().any(|container| pod::name(container) != names::CONTAINER_PROXY);
    others && variable(call, "OTEL_RESOURCE_ATTRIBUTES").is_some_and(|value| value.ends_with(".istio-proxy"))
}

/// A variable of the proxy in the recorded answer.
fn variable<'c>(call: &'c Call, name: &str) -> Option<&'c str> {
    let env = pod::find_sidecar(call.patched.as_ref()?)?["env"].as_array()?;
    pod::find(env, name)?["value"].as_str()
}
