package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// filled is a struct whose every string holds the Go path that leads to it, and its JSON: following a path through the
// tables must lead to that path in the document.
type filled struct {
	Root     string   `json:"root"`
	Document any      `json:"document"`
	Paths    []string `json:"paths"`
	// Fields counts the fields that were met, of any kind.
	Fields int `json:"fields"`
}

func fixture(w io.Writer) {
	var out []filled
	for _, root := range []struct {
		name string
		of   any
	}{
		{"POD_SPEC", &corev1.PodSpec{}}, {"OBJECT_META", &metav1.ObjectMeta{}}, {"TYPE_META", &metav1.TypeMeta{}},
		{"NAMESPACED_NAME", &types.NamespacedName{}},
	} {
		f := filler{seen: map[reflect.Type]bool{}}
		f.fill(reflect.ValueOf(root.of).Elem(), "")
		js, err := json.Marshal(root.of)
		out = append(out, f.done(root.name, js, err))
	}
	for _, root := range istioRoots {
		// A oneof holds one member: the document is filled once for each.
		for member := range 20 {
			message := root.of.ProtoReflect().New()
			g := filler{messages: map[protoreflect.FullName]bool{}, member: member}
			g.message(message, "")
			js, err := protojson.Marshal(message.Interface())
			if got := g.done(root.ident, js, err); member == 0 || len(g.paths) > 0 && g.chosen {
				out = append(out, got)
			}
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(out); err != nil {
		panic(err)
	}
}

type filler struct {
	seen     map[reflect.Type]bool
	messages map[protoreflect.FullName]bool
	paths    []string
	fields   int
	member   int
	// chosen: some oneof has a member of this number
	chosen bool
}

func (f *filler) done(root string, js []byte, err error) filled {
	if err != nil {
		panic(err)
	}
	var document any
	decoder := json.NewDecoder(bytes.NewReader(js))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		panic(err)
	}
	return filled{root, document, f.paths, f.fields}
}

func (f *filler) leaf(path string) string {
	f.paths = append(f.paths, path)
	return path
}

// fill sets every string below v to its Go path; a type that was met before is left empty.
func (f *filler) fill(v reflect.Value, path string) {
	switch v.Type() {
	case quantityType, intOrStringType, timeType, fieldsV1Type:
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.leaf(path))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), path)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(v.Index(0), path+".0")
	case reflect.Map:
		item := reflect.New(v.Type().Elem()).Elem()
		f.fill(item, path+".key")
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), item)
	case reflect.Struct:
		if f.seen[v.Type()] {
			return
		}
		f.seen[v.Type()] = true
		for i := range v.NumField() {
			field := v.Type().Field(i)
			switch {
			case isInline(field):
				f.fill(v.Field(i), path)
			case field.IsExported():
				f.fields++
				f.fill(v.Field(i), path+"."+field.Name)
			}
		}
	}
}

func (f *filler) message(m protoreflect.Message, path string) {
	md := m.Descriptor()
	if _, scalar := scalars[md.FullName()]; scalar || f.messages[md.FullName()] {
		return
	}
	f.messages[md.FullName()] = true
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if one := fd.ContainingOneof(); one != nil {
			chosen := min(f.member, one.Fields().Len()-1)
			if one.Fields().Get(chosen) != fd {
				continue
			}
			f.chosen = f.chosen || chosen == f.member
		}
		f.fields++
		below := path + "." + goFieldName(fd)
		switch {
		case fd.IsMap():
			value := m.NewField(fd)
			item := value.Map().NewValue()
			value.Map().Set(protoreflect.ValueOfString("key").MapKey(), f.value(fd.MapValue(), item, below+".key"))
			m.Set(fd, value)
		case fd.IsList():
			value := m.NewField(fd)
			value.List().Append(f.value(fd, value.List().NewElement(), below+".0"))
			m.Set(fd, value)
		default:
			m.Set(fd, f.value(fd, m.NewField(fd), below))
		}
	}
	checkGoStruct(m)
}

func (f *filler) value(fd protoreflect.FieldDescriptor, empty protoreflect.Value, path string) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(f.leaf(path))
	case protoreflect.EnumKind:
		// A number without a name stands for nothing in JSON but itself.
		return protoreflect.ValueOfEnum(0)
	case protoreflect.MessageKind:
		f.message(empty.Message(), path)
	}
	return empty
}

// checkGoStruct: every field outside a oneof is a field of the Go struct under the same name.
func checkGoStruct(m protoreflect.Message) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(m.Descriptor().FullName())
	if err != nil {
		panic(err)
	}
	goType := reflect.TypeOf(proto.Message(t.Zero().Interface())).Elem()
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		if _, ok := goType.FieldByName(goFieldName(fd)); !ok && fd.ContainingOneof() == nil {
			panic(fmt.Sprintf("%s has no field %s", goType, goFieldName(fd)))
		}
	}
}
