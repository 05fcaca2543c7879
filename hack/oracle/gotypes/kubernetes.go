package main

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	openshiftv1 "github.com/openshift/api/apps/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var (
	quantityType    = reflect.TypeFor[resource.Quantity]()
	intOrStringType = reflect.TypeFor[intstr.IntOrString]()
	timeType        = reflect.TypeFor[metav1.Time]()
	fieldsV1Type    = reflect.TypeFor[metav1.FieldsV1]()
)

// kubernetesRoots are what templates reach and what manifests are decoded into, with the sentence that documents each.
var kubernetesRoots = []struct {
	of  reflect.Type
	doc string
}{
	{reflect.TypeFor[corev1.PodSpec](), "`corev1.PodSpec`."},
	{reflect.TypeFor[metav1.ObjectMeta](), "`metav1.ObjectMeta`."},
	{reflect.TypeFor[metav1.TypeMeta](), "`metav1.TypeMeta`."},
	{reflect.TypeFor[types.NamespacedName](), "`types.NamespacedName`; it has no JSON tags, its keys are `Name` and `Namespace`."},
	{reflect.TypeFor[corev1.Pod](), "`corev1.Pod`."},
	{reflect.TypeFor[corev1.PodTemplateSpec](), "`corev1.PodTemplateSpec`."},
	{reflect.TypeFor[corev1.ReplicationController](), "`corev1.ReplicationController`."},
	{reflect.TypeFor[appsv1.Deployment](), "`appsv1.Deployment`."},
	{reflect.TypeFor[appsv1.DaemonSet](), "`appsv1.DaemonSet`."},
	{reflect.TypeFor[appsv1.ReplicaSet](), "`appsv1.ReplicaSet`."},
	{reflect.TypeFor[appsv1.StatefulSet](), "`appsv1.StatefulSet`."},
	{reflect.TypeFor[batchv1.Job](), "`batchv1.Job`."},
	{reflect.TypeFor[batchv1.CronJob](), "`batchv1.CronJob`."},
	{reflect.TypeFor[openshiftv1.DeploymentConfig](), "OpenShift's `apps.openshift.io/v1` `DeploymentConfig`."},
}

func structIdent(t reflect.Type) string {
	if strings.HasSuffix(t.PkgPath(), "/meta/v1") && t != reflect.TypeFor[metav1.ObjectMeta]() && t != reflect.TypeFor[metav1.TypeMeta]() {
		return "META_" + screaming(t.Name())
	}
	if isOpenShift(t) && t.Name() != "DeploymentConfig" {
		return "OPENSHIFT_" + screaming(t.Name())
	}
	return screaming(t.Name())
}

// isOpenShift: of OpenShift's own API, some of whose names are Kubernetes' too.
func isOpenShift(t reflect.Type) bool {
	return strings.HasPrefix(t.PkgPath(), "github.com/openshift/")
}

// typeName is the name of a type with its package, unique in the tables.
func typeName(t reflect.Type) string {
	if isOpenShift(t) {
		return "openshift." + t.Name()
	}
	return t.String()
}

// goFields lists the fields of a struct as encoding/json sees them, embedded structs flattened.
func goFields(t reflect.Type, visit func(f reflect.StructField, json string)) {
	goFieldsWithin(t, false, func(f reflect.StructField, json string, _ bool) { visit(f, json) })
}

// goFieldsWithin is goFields that also says whether a field is one of an embedded struct.
func goFieldsWithin(t reflect.Type, embedded bool, visit func(f reflect.StructField, json string, embedded bool)) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case isInline(f):
			goFieldsWithin(f.Type, true, visit)
		default:
			if name == "" {
				name = f.Name
			}
			visit(f, name, embedded)
		}
	}
}

// isInline: embedded, and without a key of its own in JSON.
func isInline(f reflect.StructField) bool {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return f.Anonymous && name == ""
}

// kindOf is the Rust expression of a Go type; structs met are handed to see.
func kindOf(t reflect.Type, see func(reflect.Type)) string {
	switch t {
	case quantityType:
		return "Kind::Quantity"
	case intOrStringType:
		return "Kind::IntOrString"
	case timeType:
		return "Kind::Time"
	case fieldsV1Type:
		return "Kind::Any"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "Kind::Bool"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "Kind::Int"
	case reflect.Uint32, reflect.Uint64:
		return "Kind::Uint"
	case reflect.String:
		return "Kind::String"
	case reflect.Interface:
		return "Kind::Any"
	case reflect.Struct:
		see(t)
		return "Kind::Struct(&" + structIdent(t) + ")"
	case reflect.Pointer:
		return "Kind::Pointer(&" + kindOf(t.Elem(), see) + ")"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "Kind::Bytes"
		}
		return "Kind::List(&" + kindOf(t.Elem(), see) + ")"
	case reflect.Map:
		return "Kind::Map(&" + kindOf(t.Elem(), see) + ")"
	}
	panic("no kind for " + t.String())
}

// kubernetesTypes are the structs that can be reached from the roots.
func kubernetesTypes() []reflect.Type {
	var types []reflect.Type
	seen := map[reflect.Type]bool{}
	var collect func(t reflect.Type)
	collect = func(t reflect.Type) {
		if !seen[t] {
			seen[t] = true
			types = append(types, t)
			goFields(t, func(f reflect.StructField, _ string) { kindOf(f.Type, collect) })
		}
	}
	for _, root := range kubernetesRoots {
		collect(root.of)
	}
	return types
}

// decodingTables are what sigs.k8s.io/yaml and encoding/json make of fields, beyond their kinds.
func decodingTables(w io.Writer) {
	fmt.Fprintln(w, "//! What Go's decoders and encoders make of the fields of Kubernetes' types, beyond their kinds.")
	fmt.Fprintln(w, "//!")
	fmt.Fprintf(w, "//! Generated by `hack/oracle/gotypes` (`go run . decoding`) from k8s.io/api %s: do not edit.\n", version("k8s.io/api"))
	embedded, written := map[string][]string{}, map[string][]string{}
	for _, t := range kubernetesTypes() {
		name := typeName(t)
		goFieldsWithin(t, false, func(f reflect.StructField, json string, within bool) {
			if within {
				embedded[name] = append(embedded[name], json)
			}
			if _, options, _ := strings.Cut(f.Tag.Get("json"), ","); !strings.Contains(options, "omit") {
				written[name] = append(written[name], json)
			}
		})
	}
	for _, table := range []struct {
		ident, doc string
		names      map[string][]string
	}{
		{"EMBEDDED", "Fields of embedded structs, below which `sigs.k8s.io/yaml` turns nothing into a string: Go type name, JSON name.", embedded},
		{"ALWAYS_WRITTEN", "Fields that Go writes although they are empty: Go type name, JSON name.", written},
	} {
		for _, names := range table.names {
			slices.Sort(names)
		}
		writeNames(w, table.ident, table.doc, table.names)
	}
}

func kubernetesTables(w io.Writer) {
	fmt.Fprintln(w, "//! Kubernetes' types that templates reach and manifests are decoded into.")
	fmt.Fprintln(w, "//!")
	fmt.Fprintf(w, "//! Generated by `hack/oracle/gotypes` (`go run . kubernetes`) from k8s.io/api %s: do not edit.\n\n", version("k8s.io/api"))
	fmt.Fprintln(w, "use gotemplate::gotypes::{Field, Kind, Type};")
	fmt.Fprint(w, rowFn)
	seen := map[reflect.Type]*table{}
	wide := map[string][]string{}
	var collect func(t reflect.Type)
	collect = func(t reflect.Type) {
		if seen[t] != nil {
			return
		}
		tab := &table{ident: structIdent(t), name: typeName(t)}
		seen[t] = tab
		goFields(t, func(f reflect.StructField, json string) {
			tab.fields = append(tab.fields, field{f.Name, json, kindOf(f.Type, collect)})
			if isWide(f.Type) {
				wide[tab.name] = append(wide[tab.name], json)
			}
		})
		tab.sortFields()
	}
	for _, root := range kubernetesRoots {
		collect(root.of)
		seen[root.of].public, seen[root.of].doc = true, root.doc
	}
	writeNames(w, "KUBERNETES_WIDE", "Integers of 64 bits, alone or in lists, all others having 32: Go type name, JSON name.", wide)
	writeSorted(w, seen)
}

// isWide: an integer of 64 bits, behind a pointer or in a list as it may be.
func isWide(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return isWide(t.Elem())
	case reflect.Int, reflect.Uint, reflect.Uint32, reflect.Uint64:
		panic("an integer of another kind: " + t.String())
	}
	return t.Kind() == reflect.Int64
}

func writeSorted[K comparable](w io.Writer, seen map[K]*table) {
	tables := make([]*table, 0, len(seen))
	for _, tab := range seen {
		tables = append(tables, tab)
	}
	slices.SortFunc(tables, func(a, b *table) int { return strings.Compare(a.ident, b.ident) })
	for i, tab := range tables {
		if i > 0 && tables[i-1].ident == tab.ident {
			panic("two types called " + tab.ident)
		}
		tab.write(w)
	}
}
