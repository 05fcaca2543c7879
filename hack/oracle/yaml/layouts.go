package main

import (
	"math/rand/v2"
	"strings"
)

// layouts writes the same few values in every way that people and tools lay YAML out, and then damages some of them:
// what matters is not what they say, but whether and how they are read.
func layouts(count int) []string {
	g := &layout{rand.New(rand.NewPCG(2026, 11))}
	seen := map[string]bool{}
	var out []string
	for len(out) < count {
		text := g.document()
		if g.one(5) {
			text = g.damage(text)
		}
		if len(text) <= 400 && !seen[text] {
			seen[text] = true
			out = append(out, text)
		}
	}
	return out
}

type layout struct{ *rand.Rand }

func (g *layout) one(of int) bool { return g.IntN(of) == 0 }

func (g *layout) pick(items ...string) string { return items[g.IntN(len(items))] }

func (g *layout) document() string {
	text := g.pick("", "", "", "", "---\n", "# c\n", "\n", "--- ", "%YAML 1.1\n---\n", "\ufeff")
	if text == "--- " {
		text += g.pick("", "# c") + "\n"
	}
	text += g.block(0, g.IntN(3)+1)
	text += g.pick("", "", "", "", "...\n", "# c\n", "\n\n", "---\n", "  # c\n")
	switch g.IntN(12) {
	case 0:
		text = strings.ReplaceAll(text, "\n", "\r\n")
	case 1:
		text = strings.TrimSuffix(text, "\n")
	}
	return text
}

func (g *layout) indent(by int) string { return strings.Repeat(" ", by) }

// gap is what separates lines of a block.
func (g *layout) gap(by int) string {
	if !g.one(8) {
		return ""
	}
	return g.pick("\n", "# c\n", g.indent(by)+"# c\n", "  \n", "\n\n", g.indent(g.IntN(9))+"# c\n")
}

// comment ends a line.
func (g *layout) comment() string {
	if !g.one(9) {
		return ""
	}
	return g.pick(" # c", "  #c", "\t# c", " ", "  ", "\t", "# c", "#c")
}

func (g *layout) separator() string {
	if !g.one(12) {
		return g.pick(" ", " ", " ", "  ")
	}
	return g.pick("\t", " \t", "\t ")
}

func (g *layout) block(by, depth int) string {
	if depth == 0 {
		return g.indent(by) + g.scalar(by) + g.comment() + "\n"
	}
	if g.one(3) {
		return g.sequence(by, depth)
	}
	return g.mapping(by, depth)
}

func (g *layout) key() string {
	return g.pick("a", "b", "c", "d e", "'f'", "\"g\"", "h.i/j", "1", "k-l", "yes", "x:y", "é")
}

func (g *layout) mapping(by, depth int) string {
	var out strings.Builder
	for range g.IntN(3) + 1 {
		out.WriteString(g.gap(by))
		out.WriteString(g.indent(by))
		if g.one(25) {
			out.WriteString("? " + g.key() + "\n" + g.indent(by))
		} else {
			out.WriteString(g.key() + g.pick("", "", "", "", "", "", " "))
		}
		out.WriteString(":")
		out.WriteString(g.value(by, depth))
	}
	return out.String()
}

// value is what follows a colon, up to the end of the line.
func (g *layout) value(by, depth int) string {
	switch g.IntN(6) {
	case 0, 1, 2:
		return g.separator() + g.scalar(by) + g.comment() + "\n"
	case 3:
		return g.separator() + g.flow(by, depth) + g.comment() + "\n"
	case 4:
		if g.one(2) {
			return g.comment() + "\n" + g.sequence(by, max(depth-1, 0))
		}
		return g.comment() + "\n" + g.block(by+g.IntN(3)+1, max(depth-1, 0))
	}
	return g.blockScalar(by)
}

func (g *layout) sequence(by, depth int) string {
	var out strings.Builder
	for range g.IntN(3) + 1 {
		out.WriteString(g.gap(by))
		out.WriteString(g.indent(by) + "-")
		switch g.IntN(5) {
		case 0, 1:
			out.WriteString(g.separator() + g.scalar(by) + g.comment() + "\n")
		case 2:
			out.WriteString(g.separator() + g.flow(by, depth) + g.comment() + "\n")
		case 3:
			inner := g.IntN(3) + 1
			out.WriteString(g.indent(inner) + strings.TrimLeft(g.block(by+inner+1, max(depth-1, 0)), " "))
		case 4:
			if g.one(2) {
				out.WriteString(g.blockScalar(by))
			} else {
				out.WriteString(g.comment() + "\n" + g.block(by+g.IntN(3)+1, max(depth-1, 0)))
			}
		}
	}
	return out.String()
}

// fold is a line break in a scalar or between brackets, with any indentation.
func (g *layout) fold(by int) string {
	return g.pick("\n", "\n", "\n", "\n\n", " \n", "\n \n") + g.indent(g.pickInt(0, 0, by, by, by+1, by+2, by+4))
}

func (g *layout) pickInt(items ...int) int { return items[g.IntN(len(items))] }

func (g *layout) words(by int, between func() string) string {
	words := make([]string, g.IntN(3)+1)
	for i := range words {
		words[i] = g.pick("one", "two", "3", "a:b", "c#d", "e", "-f", "#", "--", "http://h:80/p?q=r", ":", "?", ",", "[x", "y]", "{", "}", "&a", "*a", "!t", "%", "@", "`", "|", ">")
		if !g.one(6) {
			words[i] = g.pick("one", "two", "three", "v1.2", "é")
		}
	}
	text := words[0]
	for _, word := range words[1:] {
		text += between() + word
	}
	return text
}

func (g *layout) scalar(by int) string {
	between := func() string {
		if g.one(3) {
			return g.fold(by)
		}
		return g.pick(" ", " ", "  ", "\t")
	}
	switch g.IntN(10) {
	case 0, 1, 2:
		return g.pick("one", "true", "017", "1e3", "~", "", "2001-01-01", "v1.2", "a:b", "a b", "http://h:80/p", "-1", "-x", ".5", "x'", "one two", "a#b", ":x", "?x")
	case 3:
		return g.words(by, between)
	case 4, 5:
		return "'" + g.words(by, between) + g.pick("", "", "''", " ", "\n") + "'"
	case 6, 7:
		return "\"" + g.words(by, between) + g.pick("", "", "\\\"", "\\n", "\\t", "\\u00e9", "\\\n  ", " ", "\n", "\\x41", "\\/") + "\""
	case 8:
		return g.pick("!!str ", "!x ", "! ", "&a ", "!!int ") + g.pick("1", "x", "'y'", "")
	}
	return g.flow(by, 1)
}

// flow is a collection in brackets, over several lines or not.
func (g *layout) flow(by, depth int) string {
	blank := func() string {
		switch g.IntN(8) {
		case 0:
			return g.fold(by)
		case 1:
			return " # c" + g.fold(by)
		case 2:
			return g.pick("\t", "  ")
		}
		return g.pick("", " ")
	}
	item := func() string {
		if depth > 0 && g.one(4) {
			return g.flow(by, depth-1)
		}
		if g.one(12) {
			return g.pick("http://h/p?q", "'m':n", "x: y", "", "-", ":z")
		}
		return g.pick("a", "b c", "1", "'d'", "\"e\"", "f:g", "~", "-h", "\"i"+g.fold(by)+"j\"", "k"+g.fold(by)+"l", "é")
	}
	var items []string
	isMap := g.one(2)
	for range g.IntN(4) {
		text := item()
		if isMap {
			text = g.pick("a", "'b'", "\"c\"", "d e", "1") + g.pick(":", ": ", ": ", " : ", ":\t", ":"+g.fold(by)) + text
		}
		items = append(items, blank()+text+blank())
	}
	text := strings.Join(items, ",") + g.pick("", "", ",", blank())
	if isMap {
		return "{" + text + "}"
	}
	return "[" + text + "]"
}

func (g *layout) blockScalar(by int) string {
	var out strings.Builder
	out.WriteString(g.separator() + g.pick("|", "|", ">", "|-", ">-", "|+", ">+", "|2", ">1", "|-2") + g.comment() + "\n")
	at := by + g.IntN(3) + 1
	for range g.IntN(4) {
		out.WriteString(g.pick("", "", g.indent(at), g.indent(at), g.indent(at+2), g.indent(at)) + g.pick("one", "two three", "# c", "- a", "b: c", "", " ", "\td", "'e", "---", "{{ f }}") + "\n")
	}
	return out.String()
}

// damage changes a text in a place or two.
func (g *layout) damage(text string) string {
	runes := []rune(text)
	for range g.IntN(2) + 1 {
		at := g.IntN(len(runes) + 1)
		switch piece := []rune(g.pick(" ", "  ", "\t", "\n", ":", "-", "#", "'", "\"", ",", "[", "]", "{", "}", "?", "|", ">", "&a ", "*a", "!", "%", "\\", "- ", ": ", "\r\n", "\u0085", "\u2028", "\ufeff", "---\n")); {
		case g.one(3) && at < len(runes):
			runes = append(runes[:at:at], runes[at+1:]...)
		default:
			runes = append(runes[:at:at], append(piece, runes[at:]...)...)
		}
	}
	return string(runes)
}
