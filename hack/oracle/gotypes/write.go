package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"unicode"
)

// field is one row of a table; kind is a Rust expression.
type field struct{ goName, json, kind string }

// table is one Rust static.
type table struct {
	ident, name, doc string
	proto, public    bool
	fields           []field
}

func (t *table) sortFields() {
	slices.SortFunc(t.fields, func(a, b field) int { return cmp.Compare(a.goName, b.goName) })
	for i := 1; i < len(t.fields); i++ {
		if t.fields[i-1].goName == t.fields[i].goName {
			panic(t.name + ": two fields " + t.fields[i].goName)
		}
	}
}

func (t *table) write(w io.Writer) {
	fmt.Fprintln(w)
	visibility := ""
	if t.public {
		visibility = "pub "
		fmt.Fprintf(w, "/// %s\n", t.doc)
	}
	fmt.Fprintln(w, "#[rustfmt::skip]")
	fmt.Fprintf(w, "%sstatic %s: Type = Type { name: %q, proto: %t, fields: &[\n", visibility, t.ident, t.name, t.proto)
	for _, f := range t.fields {
		fmt.Fprintf(w, "    f(%q, %q, %s),\n", f.goName, f.json, f.kind)
	}
	fmt.Fprintln(w, "] };")
}

const rowFn = `
const fn f(go: &'static str, json: &'static str, kind: Kind) -> Field {
    Field { go, json, kind }
}
`

// screaming turns MeshConfig_TLSConfig into MESH_CONFIG_TLS_CONFIG.
func screaming(name string) string {
	var out strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if r == '_' {
			out.WriteRune('_')
			continue
		}
		if unicode.IsUpper(r) && i > 0 && runes[i-1] != '_' {
			before := unicode.IsLower(runes[i-1]) || unicode.IsDigit(runes[i-1])
			acronymEnds := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if before || acronymEnds {
				out.WriteRune('_')
			}
		}
		out.WriteRune(unicode.ToUpper(r))
	}
	return out.String()
}

// version of a module this program is built with.
func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		panic("no build information")
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	panic("no module " + module)
}
