package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"slices"
)

// generate makes a case from a seed: a small pod, and a patch that shares some of its names, so that most of what
// can happen between two lists does.
func generate(seed uint64) Case {
	g := generator{rand.New(rand.NewPCG(seed, 0x6f7574726967))}
	return Case{
		Name:     fmt.Sprintf("generated %03d", seed),
		Original: encode(g.pod(false)),
		Patch:    encode(g.pod(true)),
	}
}

type generator struct{ *rand.Rand }

type object = map[string]any

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// subset picks some of the names, in any order; in a patch rarely one of them twice.
func (g generator) subset(names []string, patch bool) []string {
	shuffled := append([]string{}, names...)
	g.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	shuffled = shuffled[:g.IntN(len(shuffled)+1)]
	if patch && len(shuffled) > 0 && g.chance(4) {
		shuffled = append(shuffled, shuffled[0])
	}
	return shuffled
}

func (g generator) pod(patch bool) object {
	pod := object{}
	if g.chance(60) {
		pod["metadata"] = g.metadata(patch)
	}
	if g.chance(90) {
		pod["spec"] = g.spec(patch)
	}
	return pod
}

func (g generator) metadata(patch bool) object {
	meta := object{}
	if g.chance(60) {
		meta["labels"] = g.strings(patch)
	}
	if g.chance(40) {
		meta["annotations"] = g.strings(patch)
	}
	if g.chance(40) {
		names := g.subset([]string{"a/one", "a/two", "a/three", "a/four"}, false)
		meta["finalizers"] = names
		if patch && g.chance(25) {
			delete(meta, "finalizers")
			meta["$deleteFromPrimitiveList/finalizers"] = names
		} else if patch && g.chance(20) {
			meta["$setElementOrder/finalizers"] = g.around(names)
		}
	}
	if g.chance(25) {
		meta["ownerReferences"] = g.list(patch, "uid", []string{"u1", "u2"}, func(o object) { o["kind"] = pick(g, "Job", "ReplicaSet") })
	}
	return meta
}

// strings is a map of strings; in a patch with nulls and, rarely, a directive.
func (g generator) strings(patch bool) object {
	m := object{}
	for _, key := range g.subset([]string{"app", "version", "tier"}, false) {
		m[key] = pick(g, "x", "y", "z")
		if patch && g.chance(20) {
			m[key] = nil
		}
	}
	g.direct(m, patch)
	return m
}

// direct adds, in a patch and rarely, a directive that speaks of the whole map.
func (g generator) direct(m object, patch bool) {
	if !patch || !g.chance(8) {
		return
	}
	switch g.IntN(4) {
	case 0:
		m["$patch"] = "replace"
	case 1:
		m["$patch"] = "delete"
	default:
		keys := []string{"extra"}
		for key := range m {
			keys = append(keys, key)
		}
		m["$retainKeys"] = slices.Sorted(slices.Values(keys))
	}
}

func (g generator) spec(patch bool) object {
	spec := object{}
	if g.chance(80) {
		g.keyed(spec, patch, "containers", "name", []string{"app", "proxy", "log", "debug"}, g.container(patch))
	}
	if g.chance(30) {
		g.keyed(spec, patch, "initContainers", "name", []string{"init", "proxy", "migrate"}, g.container(patch))
	}
	if g.chance(40) {
		g.keyed(spec, patch, "volumes", "name", []string{"data", "tmp", "token"}, func(v object) {
			source := pick(g, "emptyDir", "hostPath", "secret")
			v[source] = object{pick(g, "a", "b"): "c"}
			if patch && g.chance(40) {
				v["$retainKeys"] = []string{"name", source}
			}
		})
	}
	if g.chance(25) {
		g.keyed(spec, patch, "imagePullSecrets", "name", []string{"one", "two", "three"}, func(object) {})
	}
	if g.chance(20) {
		g.keyed(spec, patch, "hostAliases", "ip", []string{"10.0.0.1", "10.0.0.2"}, func(h object) { h["hostnames"] = g.subset([]string{"h1", "h2"}, false) })
	}
	if g.chance(20) {
		g.keyed(spec, patch, "topologySpreadConstraints", "topologyKey", []string{"zone", "host"}, func(t object) {
			t["maxSkew"] = g.IntN(3)
			t["labelSelector"] = object{"matchLabels": g.strings(patch)}
		})
	}
	if g.chance(20) {
		spec["tolerations"] = g.list(false, "key", []string{"t1", "t2", "t3"}, func(t object) { t["operator"] = "Exists" })
	}
	if g.chance(30) {
		spec["securityContext"] = g.securityContext(patch)
	}
	if g.chance(20) {
		spec["nodeSelector"] = g.strings(patch)
	}
	if g.chance(20) {
		spec["terminationGracePeriodSeconds"] = pick[any](g, 1, 30, g.nothing(patch))
	}
	g.direct(spec, patch && g.chance(20))
	return spec
}

// nothing is null in a patch: the pod itself has none.
func (g generator) nothing(patch bool) any {
	if patch {
		return nil
	}
	return 3
}

func (g generator) securityContext(patch bool) object {
	context := object{}
	if g.chance(50) {
		context["runAsUser"] = pick(g, 0, 1337)
	}
	if g.chance(30) {
		context["supplementalGroups"] = []int{g.IntN(9), 10 + g.IntN(9)}
	}
	if g.chance(30) {
		context["fsGroup"] = pick[any](g, 1, 2, g.nothing(patch))
	}
	g.direct(context, patch)
	return context
}

func (g generator) container(patch bool) func(object) {
	return func(c object) {
		if g.chance(50) {
			c["image"] = pick(g, "i:1", "i:2")
		}
		if g.chance(30) {
			c["args"] = g.subset([]string{"-a", "-b", "-c"}, false)
		}
		if g.chance(50) {
			g.keyed(c, patch, "env", "name", []string{"A", "B", "C", "D", "E"}, func(e object) {
				if g.chance(70) {
					e["value"] = pick(g, "1", "2")
				} else {
					e["valueFrom"] = object{"fieldRef": object{"fieldPath": "p"}}
				}
				if patch && g.chance(10) {
					e["value"] = nil
				}
			})
		}
		if g.chance(35) {
			ports := []any{}
			for _, port := range g.subset([]string{"80", "443", "53", "53"}, patch) {
				number := json.Number(port)
				ports = append(ports, object{"containerPort": number, "protocol": pick(g, "TCP", "UDP")})
			}
			c["ports"] = ports
		}
		if g.chance(25) {
			g.keyed(c, patch, "volumeMounts", "mountPath", []string{"/a", "/b", "/c"}, func(m object) { m["name"] = pick(g, "data", "tmp") })
		}
		if g.chance(25) {
			c["resources"] = object{"limits": g.strings(patch), "requests": g.strings(false)}
		}
		if g.chance(20) {
			c["securityContext"] = g.securityContext(patch)
		}
		if g.chance(20) {
			c["readinessProbe"] = pick[any](g, object{"httpGet": object{"port": 80}}, object{"tcpSocket": object{"port": "http"}, "periodSeconds": 1})
			if patch && g.chance(30) {
				c["readinessProbe"] = nil
			}
		}
	}
}

// keyed puts a list into a map; in a patch sometimes with the order of its elements, right or wrong.
func (g generator) keyed(into object, patch bool, field, key string, names []string, fill func(object)) {
	list := g.list(patch, key, names, fill)
	into[field] = list
	if !patch || !g.chance(15) {
		return
	}
	var present []string
	for _, element := range list {
		item := element.(object)
		if name, ok := item[key].(string); ok && item["$patch"] == nil {
			present = append(present, name)
		}
	}
	order := []any{}
	for _, name := range g.around(present, names...) {
		order = append(order, object{key: name})
	}
	into["$setElementOrder/"+field] = order
	if g.chance(10) {
		delete(into, field)
	}
}

// around is names with others in between, rarely with one dropped or two swapped.
func (g generator) around(names []string, others ...string) []string {
	order := append([]string{}, names...)
	for _, other := range others {
		if g.chance(30) && !slices.Contains(order, other) {
			at := g.IntN(len(order) + 1)
			order = append(order[:at], append([]string{other}, order[at:]...)...)
		}
	}
	if len(order) > 1 && g.chance(8) {
		order[0], order[1] = order[1], order[0]
	}
	if len(order) > 0 && g.chance(8) {
		order = order[1:]
	}
	return order
}

func (g generator) list(patch bool, key string, names []string, fill func(object)) []any {
	list := []any{}
	for _, name := range g.subset(names, patch) {
		element := object{key: name}
		fill(element)
		if patch && g.chance(8) {
			element = object{key: name, "$patch": "delete"}
		}
		if g.chance(1) {
			delete(element, key)
		}
		list = append(list, element)
	}
	if patch && g.chance(4) {
		at := g.IntN(len(list) + 1)
		list = append(list[:at], append([]any{object{"$patch": "replace"}}, list[at:]...)...)
	}
	return list
}

func encode(v any) []byte {
	encoded, err := json.Marshal(v)
	if err != nil {
		log.Fatal(err)
	}
	return encoded
}
