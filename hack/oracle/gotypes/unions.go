package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// allMembers are sentences by which a struct's comment says that each of its fields excludes the others.
var allMembers = []string{"Only one of its members may be specified", "One and only one of the fields"}

// unmarked are unions that only the comments of single fields, or Kubernetes' validation, speak of. An empty list is a
// union of all fields.
var unmarked = map[reflect.Type][]string{
	reflect.TypeFor[corev1.EnvVar]():                       {"Value", "ValueFrom"},
	reflect.TypeFor[corev1.EnvVarSource]():                 {},
	reflect.TypeFor[corev1.EnvFromSource]():                {"ConfigMapRef", "SecretRef"},
	reflect.TypeFor[corev1.VolumeProjection]():             {},
	reflect.TypeFor[corev1.DownwardAPIVolumeFile]():        {"FieldRef", "ResourceFieldRef"},
	reflect.TypeFor[corev1.ClusterTrustBundleProjection](): {"Name", "SignerName"},
	reflect.TypeFor[corev1.PodResourceClaim]():             {"ResourceClaimName", "ResourceClaimTemplateName"},
	reflect.TypeFor[corev1.VolumeMount]():                  {"SubPath", "SubPathExpr"},
}

// noUnions have nothing but pointers to structs, as unions do, and may have several of them.
var noUnions = []reflect.Type{
	reflect.TypeFor[corev1.Affinity](),
}

// union is one row; members are JSON names.
type union struct {
	of, discriminator string
	members           []string
}

// comments are those of core/v1: of types by name, of fields by type and name.
func comments() map[string]string {
	pkg, err := build.Import("k8s.io/api/core/v1", ".", build.FindOnly)
	if err != nil {
		panic(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), pkg.Dir+"/types.go", nil, parser.ParseComments)
	if err != nil {
		panic(err)
	}
	found := map[string]string{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			named := spec.(*ast.TypeSpec)
			doc := named.Doc
			if doc == nil {
				doc = gen.Doc
			}
			found[named.Name.Name] = markers(doc)
			structure, ok := named.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, field := range structure.Fields.List {
				for _, name := range field.Names {
					found[named.Name.Name+"."+name.Name] = markers(field.Doc)
				}
			}
		}
	}
	return found
}

// markers is a comment with the lines that the compiler's tools read.
func markers(doc *ast.CommentGroup) string {
	if doc == nil {
		return ""
	}
	var lines []string
	for _, comment := range doc.List {
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(comment.Text, "//")))
	}
	return strings.Join(lines, "\n")
}

// ownUnion is the union that a struct itself is, without what is embedded in it.
func ownUnion(t reflect.Type, comments map[string]string) *union {
	says := func(name string) string {
		if t.PkgPath() != "k8s.io/api/core/v1" {
			return ""
		}
		return comments[name]
	}
	doc := says(t.Name())
	isUnion := slices.ContainsFunc(allMembers, func(sentence string) bool { return strings.Contains(doc, sentence) })
	isMarked := slices.Contains(strings.Split(doc, "\n"), "+union")
	chosen, isUnmarked := unmarked[t]
	if !isUnion && !isMarked && !isUnmarked {
		return nil
	}
	found := &union{}
	goFields(t, func(f reflect.StructField, json string) {
		switch {
		case strings.Contains(says(t.Name()+"."+f.Name), "+unionDiscriminator"):
			found.discriminator = json
		case len(chosen) == 0 || slices.Contains(chosen, f.Name):
			found.members = append(found.members, json)
		}
	})
	if len(chosen) > 0 && len(chosen) != len(found.members) {
		panic(t.String() + " has lost a member of its union")
	}
	slices.Sort(found.members)
	return found
}

// unionsOf are the unions of a struct's JSON: its own and those of what is embedded.
func unionsOf(t reflect.Type, comments map[string]string) []union {
	var all []union
	if own := ownUnion(t, comments); own != nil {
		all = append(all, *own)
	}
	for i := range t.NumField() {
		if f := t.Field(i); isInline(f) && f.Type.Kind() == reflect.Struct {
			all = append(all, unionsOf(f.Type, comments)...)
		}
	}
	// One member alone excludes nothing, unless a discriminator does.
	all = slices.DeleteFunc(all, func(u union) bool { return len(u.members) < 2 && u.discriminator == "" })
	for i := range all {
		all[i].of = t.String()
	}
	return all
}

// looksLikeUnion: several fields, all of them optional structs.
func looksLikeUnion(t reflect.Type) bool {
	fields, structs := 0, 0
	goFields(t, func(f reflect.StructField, _ string) {
		fields++
		if f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct {
			structs++
		}
	})
	return fields > 1 && fields == structs
}

// podTypes are the structs a pod's JSON is made of.
func podTypes() []reflect.Type {
	var all []reflect.Type
	var collect func(t reflect.Type)
	collect = func(t reflect.Type) {
		if slices.Contains(all, t) {
			return
		}
		all = append(all, t)
		goFields(t, func(f reflect.StructField, _ string) { kindOf(f.Type, collect) })
	}
	collect(reflect.TypeFor[corev1.PodSpec]())
	collect(reflect.TypeFor[metav1.ObjectMeta]())
	slices.SortFunc(all, func(a, b reflect.Type) int { return strings.Compare(a.String(), b.String()) })
	return all
}

func allUnions() []union {
	comments := comments()
	var all []union
	for _, t := range podTypes() {
		found := unionsOf(t, comments)
		if len(found) == 0 && looksLikeUnion(t) && !slices.Contains(noUnions, t) {
			panic(t.String() + " looks like a union: say whether it is one")
		}
		all = append(all, found...)
	}
	return all
}

func unionTable(w io.Writer) {
	fmt.Fprintln(w, "//! Fields of a pod of which an API server takes one.")
	fmt.Fprintln(w, "//!")
	fmt.Fprintf(w, "//! Generated by `hack/oracle/gotypes` (`go run . unions`) from k8s.io/api %s: do not edit.\n\n", version("k8s.io/api"))
	fmt.Fprintln(w, "use super::Union;")
	fmt.Fprintln(w, "\n/// Every union of a pod, by the Go name of the struct.")
	fmt.Fprintln(w, "#[rustfmt::skip]")
	fmt.Fprintln(w, "pub static UNIONS: &[Union] = &[")
	for _, u := range allUnions() {
		discriminator := "None"
		if u.discriminator != "" {
			discriminator = fmt.Sprintf("Some(%q)", u.discriminator)
		}
		quoted := make([]string, len(u.members))
		for i, member := range u.members {
			quoted[i] = fmt.Sprintf("%q", member)
		}
		fmt.Fprintf(w, "    Union { of: %q, discriminator: %s, members: &[%s] },\n", u.of, discriminator, strings.Join(quoted, ", "))
	}
	fmt.Fprintln(w, "];")
}
