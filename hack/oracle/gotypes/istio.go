package main

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
)

// istioRoots are the messages whose whole reach is written.
var istioRoots = []struct {
	of         proto.Message
	ident, doc string
}{
	{&meshv1alpha1.MeshConfig{}, "MESH_CONFIG", "`mesh/v1alpha1.MeshConfig`."},
	{&meshv1alpha1.ProxyConfig{}, "PROXY_CONFIG", "`mesh/v1alpha1.ProxyConfig`, what a template sees as `.ProxyConfig`."},
	{&networkingv1beta1.ProxyConfig{}, "BETA_PROXY_CONFIG", "`networking/v1beta1.ProxyConfig`, the spec of ProxyConfig objects."},
}

// scalars are well-known messages with a kind of their own.
var scalars = map[protoreflect.FullName]string{
	"google.protobuf.Duration":    "Kind::Duration",
	"google.protobuf.BoolValue":   "Kind::BoolValue",
	"google.protobuf.UInt32Value": "Kind::UInt32Value",
	"google.protobuf.Int32Value":  "Kind::Int32Value",
	"google.protobuf.DoubleValue": "Kind::DoubleValue",
	"google.protobuf.StringValue": "Kind::StringValue",
	"google.protobuf.Int64Value":  "Kind::Int32Value", // and a row in WIDE
	"google.protobuf.Struct":      "Kind::Any",
}

// goName of a message or enum: package.Outer_Inner.
func goName(d protoreflect.Descriptor) string {
	if m, ok := d.(protoreflect.MessageDescriptor); ok {
		t, err := protoregistry.GlobalTypes.FindMessageByName(m.FullName())
		if err != nil {
			panic(err)
		}
		return reflect.TypeOf(t.Zero().Interface()).Elem().String()
	}
	t, err := protoregistry.GlobalTypes.FindEnumByName(d.FullName())
	if err != nil {
		panic(err)
	}
	return reflect.TypeOf(t.New(0)).String()
}

// ident of a message or enum: the package's first element is dropped for mesh, the rest keeps it.
func protoIdent(d protoreflect.Descriptor) string {
	for _, root := range istioRoots {
		if root.of.ProtoReflect().Descriptor().FullName() == d.FullName() {
			return root.ident
		}
	}
	pkg, name, _ := strings.Cut(goName(d), ".")
	prefix := ""
	if string(d.ParentFile().Package()) != "istio.mesh.v1alpha1" {
		path := strings.Split(string(d.ParentFile().Package()), ".")
		prefix = strings.ToUpper(path[1]) + "_" + strings.ToUpper(pkg) + "_"
	}
	return prefix + screaming(name)
}

// goFieldName is what protoc-gen-go calls a field, checked against the getter it made.
func goFieldName(fd protoreflect.FieldDescriptor) string {
	var out []byte
	name := string(fd.Name())
	for i := 0; i < len(name); i++ {
		c := name[i]
		lower := func(c byte) bool { return 'a' <= c && c <= 'z' }
		switch {
		case c == '_' && i == 0:
			out = append(out, 'X')
		case c == '_' && i+1 < len(name) && lower(name[i+1]):
		case lower(c) && (i == 0 || name[i-1] == '_' || '0' <= name[i-1] && name[i-1] <= '9'):
			out = append(out, c-'a'+'A')
		default:
			out = append(out, c)
		}
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(fd.ContainingMessage().FullName())
	if err != nil {
		panic(err)
	}
	goType := reflect.TypeOf(t.Zero().Interface())
	for _, candidate := range []string{string(out), capitalise(name)} {
		if _, ok := goType.MethodByName("Get" + candidate); ok {
			return candidate
		}
	}
	panic(fmt.Sprintf("%s has no getter for %s", goType, fd.FullName()))
}

func capitalise(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// snake is the proto name that a JSON name usually comes from.
func snake(json string) string {
	var out strings.Builder
	for _, r := range json {
		if 'A' <= r && r <= 'Z' {
			out.WriteRune('_')
			r += 'a' - 'A'
		}
		out.WriteRune(r)
	}
	return out.String()
}

type istio struct {
	messages map[protoreflect.FullName]*table
	enums    map[protoreflect.FullName]protoreflect.EnumDescriptor
	// the rest is missing from the tables of fields, by Go type name
	oneofs map[string][][]string
	names  map[string][][2]string
	wide   map[string][]string
}

func (s *istio) message(md protoreflect.MessageDescriptor) {
	if s.messages[md.FullName()] != nil {
		return
	}
	tab := &table{ident: protoIdent(md), name: goName(md), proto: true}
	s.messages[md.FullName()] = tab
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		tab.fields = append(tab.fields, field{goFieldName(fd), fd.JSONName(), s.kind(fd)})
		if string(fd.Name()) != snake(fd.JSONName()) {
			s.names[tab.name] = append(s.names[tab.name], [2]string{string(fd.Name()), fd.JSONName()})
		}
		switch fd.Kind() {
		case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
			s.wide[tab.name] = append(s.wide[tab.name], fd.JSONName())
		case protoreflect.MessageKind:
			if fd.Message().FullName() == "google.protobuf.Int64Value" {
				s.wide[tab.name] = append(s.wide[tab.name], fd.JSONName())
			}
		}
	}
	for i := range md.Oneofs().Len() {
		var members []string
		for j := range md.Oneofs().Get(i).Fields().Len() {
			members = append(members, md.Oneofs().Get(i).Fields().Get(j).JSONName())
		}
		s.oneofs[tab.name] = append(s.oneofs[tab.name], members)
	}
	tab.sortFields()
}

func (s *istio) kind(fd protoreflect.FieldDescriptor) string {
	if fd.IsMap() {
		if fd.MapKey().Kind() != protoreflect.StringKind {
			panic("map key of " + fd.FullName())
		}
		return "Kind::Map(&" + s.singular(fd.MapValue()) + ")"
	}
	if fd.IsList() {
		return "Kind::List(&" + s.singular(fd) + ")"
	}
	return s.singular(fd)
}

func (s *istio) singular(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "Kind::Bool"
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return "Kind::Int"
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return "Kind::Uint"
	case protoreflect.DoubleKind: // there is no float of single precision
		return "Kind::Float"
	case protoreflect.StringKind:
		return "Kind::String"
	case protoreflect.BytesKind:
		return "Kind::Bytes"
	case protoreflect.EnumKind:
		s.enums[fd.Enum().FullName()] = fd.Enum()
		return "Kind::Enum(&" + protoIdent(fd.Enum()) + ")"
	case protoreflect.MessageKind:
		if kind, ok := scalars[fd.Message().FullName()]; ok {
			return kind
		}
		if strings.HasPrefix(string(fd.Message().FullName()), "google.") {
			panic(fmt.Sprintf("no kind for %s of %s", fd.Message().FullName(), fd.FullName()))
		}
		s.message(fd.Message())
		return "Kind::Pointer(&Kind::Struct(&" + protoIdent(fd.Message()) + "))"
	}
	panic("no kind for " + fd.FullName())
}

func istioTables(w io.Writer) {
	s := &istio{
		messages: map[protoreflect.FullName]*table{}, enums: map[protoreflect.FullName]protoreflect.EnumDescriptor{},
		oneofs: map[string][][]string{}, names: map[string][][2]string{}, wide: map[string][]string{},
	}
	for _, root := range istioRoots {
		md := root.of.ProtoReflect().Descriptor()
		s.message(md)
		s.messages[md.FullName()].public, s.messages[md.FullName()].doc = true, root.doc
	}
	fmt.Fprintln(w, "//! Istio's messages that templates and configuration documents reach.")
	fmt.Fprintln(w, "//!")
	fmt.Fprintf(w, "//! Generated by `hack/oracle/gotypes` (`go run . istio`) from istio.io/api %s: do not edit.\n\n", version("istio.io/api"))
	fmt.Fprintln(w, "use gotemplate::gotypes::{Enum, Field, Kind, Type};")
	fmt.Fprint(w, rowFn)

	fmt.Fprintln(w, "\n/// Members of each oneof, in the order of their declaration, by Go type name; optional scalars are oneofs of one.")
	fmt.Fprintln(w, "#[rustfmt::skip]\npub static ONEOFS: &[(&str, &[&[&str]])] = &[")
	for _, name := range sortedKeys(s.oneofs) {
		var groups []string
		for _, members := range s.oneofs[name] {
			groups = append(groups, "&["+quoteAll(members)+"]")
		}
		fmt.Fprintf(w, "    (%q, &[%s]),\n", name, strings.Join(groups, ", "))
	}
	fmt.Fprintln(w, "];")
	fmt.Fprintln(w, "\n/// Proto names that do not follow from the JSON name: Go type name, proto name, JSON name.")
	fmt.Fprintln(w, "#[rustfmt::skip]\npub static IRREGULAR_NAMES: &[(&str, &str, &str)] = &[")
	for _, name := range sortedKeys(s.names) {
		for _, pair := range s.names[name] {
			fmt.Fprintf(w, "    (%q, %q, %q),\n", name, pair[0], pair[1])
		}
	}
	fmt.Fprintln(w, "];")
	writeNames(w, "WIDE", "64-bit integers, strings in JSON: Go type name, JSON name.", s.wide)

	enums := make([]protoreflect.EnumDescriptor, 0, len(s.enums))
	for _, e := range s.enums {
		enums = append(enums, e)
	}
	slices.SortFunc(enums, func(a, b protoreflect.EnumDescriptor) int { return strings.Compare(protoIdent(a), protoIdent(b)) })
	for _, e := range enums {
		fmt.Fprintf(w, "\n#[rustfmt::skip]\nstatic %s: Enum = Enum { name: %q, values: &[\n", protoIdent(e), goName(e))
		if e.Values().Get(0).Number() != 0 {
			panic("the first value of " + e.FullName() + " is not zero")
		}
		for i := range e.Values().Len() {
			v := e.Values().Get(i)
			fmt.Fprintf(w, "    (%q, %d),\n", v.Name(), v.Number())
		}
		fmt.Fprintln(w, "] };")
	}
	writeSorted(w, s.messages)
}

func writeNames(w io.Writer, ident, doc string, names map[string][]string) {
	fmt.Fprintf(w, "\n/// %s\n#[rustfmt::skip]\npub(crate) static %s: &[(&str, &str)] = &[\n", doc, ident)
	for _, name := range sortedKeys(names) {
		for _, json := range names[name] {
			fmt.Fprintf(w, "    (%q, %q),\n", name, json)
		}
	}
	fmt.Fprintln(w, "];")
}

func quoteAll(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = fmt.Sprintf("%q", item)
	}
	return strings.Join(quoted, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
