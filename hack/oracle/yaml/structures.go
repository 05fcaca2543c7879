package main

import "strings"

func loads() []string {
	return append(append(append(scalarLoads(), structures...), pods...), generated()...)
}

func writes() []any {
	out := scalarWrites()
	return append(out,
		nil, true, false, map[string]any{}, []any{}, []any{[]any{}}, []any{map[string]any{}}, []any{nil}, map[string]any{"a": map[string]any{}, "b": []any{}, "c": nil},
		[]any{1, []any{2, []any{3, []any{}}}}, []any{map[string]any{"a": 1, "b": 2}, map[string]any{"c": []any{1, 2}}},
		map[string]any{"a": []any{[]any{1, 2}, []any{map[string]any{"b": 1}}}, "z": map[string]any{"y": map[string]any{"x": []any{"w"}}}},
		map[string]any{"a1": 1, "a10": 2, "a2": 3, "a01": 4, "a001": 5, "a": 6, "A": 7, "B": 8, "b": 9, "a-b": 10, "a.b": 11, "a_b": 12, "ab": 13, "a/b": 14, "1": 15, "10": 16, "2": 17, "02": 18, "": 19, "-": 20, ".": 21, "a b": 22, "a:b": 23},
		map[string]any{"item100": 1, "item20": 2, "item3": 3, "item03": 5, "item-": 6, "item": 7, "items": 8},
		map[string]any{"item100": 1, "item20": 2, "item3": 3, "item3a": 4, "item03": 5, "item3-": 6, "item30": 7, "item300000000000000000000": 8},
		map[string]any{"é": 1, "e": 2, "z": 3, "日": 4, "😀": 5, "_": 6, "~": 7, "$": 8},
		map[string]any{"app.kubernetes.io/name": "a", "app": "b", "app1": "c", "app-1": "d", "sidecar.istio.io/inject": "true", "istio.io/rev": "1-20"},
		map[string]any{"100": 1, "1000": 2, "1001": 3, "101": 4, "1010": 5, "10a": 6, "10-": 7, "1-0": 8, "0": 9, "00": 10, "000": 11, "0a": 12},
		map[string]any{strings.Repeat("k", 129): map[string]any{"a": 1}, strings.Repeat("l", 129): nil, strings.Repeat("m", 129): []any{}, "n\nn": map[string]any{"o\np": []any{1}}},
		map[string]any{"<<": 1}, map[string]any{"a": map[string]any{"<<": map[string]any{"b": 1}}},
		map[string]any{"script": "#!/bin/sh\nset -e\nif [ \"$a\" = 'b' ]; then\n  echo c\nfi\n", "args": []any{"-c", "exit 0 # done", "--x=y", "a: b", "{}", "*"}},
		map[string]any{"data": map[string]any{"a.yaml": "b: c\nd:\n- e\n", "f.json": "{\"g\": \"h\"}", "i": "j\n\nk\n\n"}},
	)
}

var structures = []string{
	// Nothing.
	"", "\n", " ", "\t", "#", "# a\n", "---", "---\n", "---\n---\n", "...", "--- \n...\n", "\n\n# a\n\n", "\ufeff", "\ufeffa: 1", "\ufeff---\na: 1", "a: \ufeffb",
	// Documents.
	"a: 1\n---\nb: 2\n", "---\na: 1\n---\nb: 2\n", "a: 1\n...\nb: 2\n", "a: 1\n...\n", "a: 1\n---\n", "--- a\n", "--- a: 1\n", "--- |\n  a\n", "--- |\na\n", "--- >\n a\n b\n", "--- {a: 1}\n", "--- [1]\n",
	"--- # c\na: 1\n", "# c\n---\na: 1\n", "--- !!int '1'\n", "--- &a b\n", "---a: 1\n", "---\ta: 1\n", "a: 1\n--- b: 2\n", "a: 1\n---\n]\n", "a: 1\n...\n]\n", "a\n--- b\n", "a: |\n  x\n---\nb: 1\n", "a: 'x\n---\ny'\n", "a: \"x\n...\ny\"\n",
	"- a\n---\n- b\n", "a: 1\n... # c\n", "a: 1\n...x\n", "%YAML 1.1\na: 1\n", "---\n%a: 1\n", "a: 1\n%b: 2\n",
	// Mappings.
	"a: 1\nb: 2\n", "a:\n  b: 1\n  c: 2\nd: 3\n", "a:\n", "a: \nb:\n", "a:\n\n\n  b: 1\n", "a:   1\n", "a : 1\n", "a:1\n", "a:b: c\n", "a: b: c\n", "a b: c d\n", "a:\n b:\n  c:\n   d: e\n", "a:\n  b: 1\n c: 2\n", "  a: 1\n  b: 2\n", "  a: 1\n b: 2\n",
	" a: 1\nb: 2\n", "a: 1\n  b: 2\n", "a\n", "a\nb\n", "a\nb: 1\n", "a: b\nc\n", "a: b\n  c\n", "a: b\n c\nd: e\n", "a: b\n\n  c\n", "? a\n: b\n", "? a\n", "? a\n? b\n", "? - a\n: b\n", "? {a: 1}\n: b\n", "? |\n  a\n: b\n", ": a\n", "a: ? b\n", "?a: b\n", "? a : b\n: c\n",
	"[a, b]: c\n", "{a: 1}: c\n", "[]: c\n", "a: 1\na: 2\n", "a: 1\nb: 2\na: 3\n", "a: {b: 1}\na: {c: 2}\n", "a: {b: 1, b: 2}\n", "1: a\n1: b\n", "1: a\n0x1: b\n", "yes: a\ny: b\n", "a: 1\n'a': 2\n", "~: a\n", "null: a\n", "? \n: a\n", "'': a\n", "\"\": a\n",
	"a: 1\n\n\n\nb: 2\n", "a: 1 # c\n# d\nb: 2 #e\n", "a: 1# c\n", "a: '1'# c\n", "a: \"1\"#c\n", "a: [1]# c\n", "a: # c\n  b: 1\n", "a: # c\n", "# c\n  # d\na: 1\n", "a:\n  # c\n  b: 1\n# d\n  c: 2\n", "a: |# c\n  b\n", "a: | # c\n  b\n",
	"a: 'b': c\n", "a: 'b' c\n", "a: \"b\" c\n", "'a' b: c\n", "\"a\": 1\n\"b\" : 2\n", "'a':1\n", "\"a\":1\n", "a: 1,\nb: 2\n", "a: [\nb: 1\n", "a: {\n", "a: }\n", "a: ]\n", "a: @b\n", "a: `b`\n", "a: %b\n", "a: b%\n", "a: b@c\n", "a: *b\n", "a: &b\n", "a: !b\n",
	"a: -\n", "a: - b\n", "a: -b\n", "a: --- b\n", "a: ?b\n", "a: ? b\n", "a: :b\n", "a: :\n", "a: b:\n", "a: ::\n", "a: b :c\n", "::a: b\n", "a::b: c\n", "a:: b\n", "a: b #c\n", "a: b#c\n", "a: #c\n", "a: '#c'\n", "a: ,b\n", "a: b,\n",
	// Lists.
	"- a\n- b\n", "-\n", "- \n- \n", "- - a\n  - b\n- c\n", "-\n  - a\n", "- a: 1\n  b: 2\n- c: 3\n", "-   a: 1\n    b: 2\n", "- a: 1\n b: 2\n", "a:\n- b\n- c\nd: 1\n", "a:\n  - b\n  - c\nd: 1\n", "a:\n- b\n  - c\n", "a:\n  - b\n - c\n", "a:\n- b: 1\n  c:\n  - d\n  - e\n- f\n",
	"a:\n- b\nc\n", "- a\nb: 1\n", "a: 1\n- b\n", "-a\n", "- -a\n", "- - - a\n", "- ? a\n  : b\n", "- a\n  b\n", "- a\n\n  b\n", "- |\n  a\n- >\n  b\n  c\n", "- |\n a\n", "- |\na\n", "- [a, b]\n- {a: b}\n", "-\ta\n", "- \ta\n", "-\t- a\n", "- a\n-b\n", "- a\n - b\n",
	"- a:\n  - b\n", "- a:\n    - b\n", "- - a: 1\n    b: 2\n  - c\n", "-\n\n  a\n", "-\n  a: 1\n", "- # c\n  a: 1\n", "- null\n-\n- ~\n", "a:\n-\n-\n", "a:\n-\nb:\n-\n",
	// Flow.
	"[]", "{}", "[1, 2]", "[1,2]", "[1 , 2 ]", "[1, 2,]", "[,]", "[,1]", "[1,,2]", "{a: 1}", "{a: 1,}", "{,}", "{a}", "{a, b: 1}", "{a:1}", "{a:1, b: 2}", "{\"a\":1}", "{'a':1}", "{\"a\" :1}", "{\"a\": 1,\"b\":[1,2],\"c\":{\"d\":null}}", "{a: }", "{a:}", "{a: ,b: 1}",
	"{: a}", "{? a: b}", "{? a : b}", "{?a: b}", "[a: b]", "[a: b, c: d]", "[\"a\":b]", "[\"a\": b]", "[? a : b]", "[: a]", "[a:b]", "[a:]", "[a: ]", "[a, [b, [c]]]", "{a: {b: {c: d}}}", "[{a: 1}, {b: 2}]", "[a b, c d]", "[a\nb]", "[a,\nb]", "[\n]", "[\na\n]", "a: [\n  b,\n  c\n]\n", "a: [\nb,\nc\n]\n", "a: {\n  b: 1,\n  c: 2\n}\n", "a: {\n}\n", "a:\n  [b,\nc]\n",
	"[a", "{a", "[a}", "{a]", "a]", "[[a]", "[a]]", "[a] b", "{a: b} c", "[a] # c\n", "[a # c\n]", "[a, # c\nb]", "[a#b]", "[#b\n]", "[a, #b]", "[-]", "[- a]", "[-a]", "[?]", "[?a]", "[a?]", "[a?b]", "[a ? b]", "[a? b]", "{a?b: 1}", "[http://a.b/c?d=e&f]", "[http://a.b:80/]", "{a: http://b.c:80/d}", "[a:b:c]", "[::a]", "[a::]", "{a: :b}",
	"[*a]", "[&a b, *a]", "[&a , *a]", "[!!str , a]", "[!!str]", "{!!str : a}", "[\"a\nb\"]", "['a\n\nb']", "[|\n a\n]", "[>\n a\n]", "{a: |\n b\n}", "[%a]", "[a%]", "[@a]", "[`a`]", "[\ta]", "[a\t]", "{a:\tb}", "{\ta: b}", "[a,\tb]", "{{a}}", "{{ a }}", "a: {{ b }}\n", "a: {{b: c}: d}\n", "[[a]: b]", "[{a: b}: c]", "{[a]: b}", "{{a: b}: c}", "{a: [b}", "{a: b c: d}", "{a: b\nc: d}", "{a\nb: c}", "{a: b\n, c: d}", "[a]: b\n", "{ a : b , c : d }", "{a : b}", "{\"a\"\n: b}", "{a\n: b}", "{a:\nb}", "['a'b]", "[\"a\" b]", "['a', b]", "{'a' : b}", "[a, b]c", "a: [b]c\n", "a: [b]: c\n",
	// Quotes.
	"'a'", "''", "''''", "'a''b'", "'a\\nb'", "'a\nb'", "'a\n\nb'", "'a \n b'", "' a '", "'\n'", "'\n\n'", "'a", "'a'b'", "a: 'b\n c'\n", "a: 'b\nc'\n", "a:\n  b: 'c\n  d'\n", "a:\n  b: 'c\nd'\n", "'a\tb'", "'a: b'", "'a #b'", "'a'\n'b'\n", "'a' 'b'\n",
	`""`, `"a"`, `"\""`, `"\\"`, `"\/"`, `"\n"`, `"\t"`, `"\	"`, `"\r"`, `"\0"`, `"\a\b\e\f\v"`, `"\ "`, `"\N\_\L\P"`, `"\x41"`, `"\u00e9"`, `"\U0001F600"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\uDEAD"`, `"\U00110000"`, `"\x4"`, `"\xzz"`, `"\q"`, `"\'"`, `"\`, `"a`, "\"a\nb\"", "\"a\n\nb\"", "\"a\\\nb\"", "\"a \\\n  b\"", "\"a\\n\n  b\"", "\" a \"", "\"a\n  \\  b\"", "\"\n\"", "\"\n\n\"", "\"a\tb\"", "\"a \t\n\t b\"", "a: \"b\n c\"\n", "a: \"b\nc\"\n", "a:\n  \"b\n  c\": d\n", "\"a\"\"b\"", "\"a\" \"b\"", "\"\x01\"", "\"\x7f\"", "\"\u0080\"", "\"\u0085\"", "\"a\u0085b\"", "\"\u2028\"", "\"a\u2028b\"", "\"\ufeff\"", "\"\ufffe\"", "\"\ue000\"", "\"😀\"", `{"a":"b\u003cc\u003e"}`, `"\U0001F600x"`,
	// Plain over lines.
	"a\n b\n", "a\nb\nc\n", "a\n\nb\n", "a: b\n  c\n  d\n", "a: b\n  c: d\n", "a: b\n\n\n  c\n", "a:\n  b\n  c\n", "a:\n  b\n\n  c\n", "a: b\n  # c\n  d\n", "a: b # c\n  d\n", "a: b\n  #c\n", "a: b\n  - c\n", "- a\n  - b\n", "a\n- b\n", "a: b  \n  c\n", "a: b\t\n  c\n", "a: b\n\tc\n", "a: b\n  \tc\n", "a:\tb\n", "a: \tb\n", "\ta: b\n", "a:\n\tb: c\n", "a:\n  b: c\n\td: e\n", "a: b\n\t\nc: d\n", "a: b\n \t\nc: d\n", "a: b\t# c\n", "a\tb: c\n", "a\t: b\n", "a: b\tc\n", "a: b \t c\n", "a:\n  - b\n\t- c\n", "\t\na: b\n", "\t# c\na: b\n", "a: b\n\t# c\n", "a:\n\t# c\n  b: c\n",
	"a\u0085b", "a: b\u2028c: d", "a: b\u0085c: d", "a: \u00a0b", "\u00a0a: b", "a: b\u00a0#c", "\u3000a: b", "a: é\n", "é: a\n", "日本: 語\n", "😀: a\n", "a: 😀\n", "a: \x01\n", "a: \x7f\n", "a: \u0080\n", "a: \ufffe\n", "a: \ufffd\n", "a: \ue000\n", "a: b\x00c\n", "a: b\x00", "a: b\x0bc\n", "a: b\x0cc\n", "a: b\rc: d\r", "a: b\r\nc: d\r\n", "a: |\r\n  b\r\n  c\r\n", "a: \"b\r\n  c\"\r\n", "a: b\r\n  c\r\n", "a: |\r  b\r", "- a\r\n- b\r\n",
	// Block scalars.
	"a: |\n  b\n", "a: |-\n  b\n", "a: |+\n  b\n", "a: |\n  b\n\n\n", "a: |-\n  b\n\n\n", "a: |+\n  b\n\n\n", "a: |\n  b\n  c\n", "a: |\n  b\n\n  c\n", "a: |\n  b\n   c\n", "a: |\n    b\n   c\n", "a: |\n\n  b\n", "a: |\n\n\n", "a: |+\n\n\n", "a: |-\n\n\n", "a: |\n", "a: |", "a: |+", "a: |\nb: c\n", "a: |\n  b", "a: |\n  b\n  ", "a: |\n  b\n    ", "a: |\n  b\n ", "a: |+\n  b\n ", "a: |+\n  b\n  ", "a: |+\n  b\n\n ", "a: |-\n  b\n  ", "a: |-\n  b\n    ", "a: >\n  b\n ", "a: >\n  b\n    ", "a: |\n ", "a: |\n  \n ", "a: |+\n ", "a: |\n  b\n# c", "a: |\n  b\n  # c", "a: |\n\n  b\n\n  c", "a: >\n  b", "a: >+\n  b\n  c", "- a: |-\n    b\n  c: |\n    d", "|\n b", "a: |\n  b\nc: d", "a: |\n  b\n...", "a: |\r\n  b", "a: |\n  b\r", "a: |\n  bé", "a: |-\n  b", "a: |+\n  b", "a: |2\n   b\n", "a: |2-\n   b\n", "a: |-2\n   b\n", "a: |1\n  b\n", "a: |3\n  b\n", "a: |0\n  b\n", "a: |10\n  b\n", "a: |x\n  b\n", "a: |--\n  b\n", "a: | b\n", "a: |  \n  b\n", "a: |\n  b \n", "a: |\n  b\t\n", "a: |\n  \tb\n", "a: |\n\tb\n", "a: |\n  b\n\tc\n", "a: |\n  b\n \n  c\n", "a: |\n  b\n    \n  c\n", "a: |\n   \n  b\n", "a: |\n     \n  b\n", "a: |\n  # b\n  c\n", "a: |\n  b\n # c\n", "a: |\n  b\n# c\nd: e\n", "a: |\n  b: c\n  - d\n", "a: |\n  ---\n  b\n", "a: |\n  ...\n", "a:\n  |\n  b\n", "a:\n  b: |\n    c\n  d: e\n", "a:\n  b: |\n   c\n  d: e\n", "- |\n  a\n  b\n- c\n", "- - |\n    a\n", "|\n  a\n", "|\na\n", "|\n a\nb: c\n", ">\na\nb\n", "a: !!str |\n  b\n", "a: &b |\n  c\nd: *b\n", "a: | # c\n  b\n", "a: |#c\n  b\n", "a: |\n  'b'\n", "a: |\n  \"b\\n\"\n", "a: |\n  é\n  日本\n", "a: |\n  b\n\n\n\nc: d\n", "a: |+\n  b\n\n\n\nc: d\n", "a: |+\n\n\nc: d\n", "a: |\n b\n  c\n   d\n  e\n f\n", "a: |\n  b\n\n# c\n", "a: |\n  b\n  # c\n", "a:\n- |\n  b\n- |-\n  c\n", "a:\n- |\n b\n", "a: |\n  {{- range }}\n  x: y\n  {{ end }}\n",
	"a: >\n  b\n", "a: >-\n  b\n", "a: >+\n  b\n\n", "a: >\n  b\n  c\n", "a: >\n  b\n\n  c\n", "a: >\n  b\n\n\n  c\n", "a: >\n  b\n   c\n  d\n", "a: >\n  b\n\n   c\n\n  d\n", "a: >\n   b\n", "a: >\n\n  b\n", "a: >\n\n\n  b\n  c\n\n\n", "a: >2\n   b\n  c\n", "a: >\n  b\n  - c\n  - d\n", "a: >\n  b \n  c\n", "a: >\n  b\n  \tc\n  d\n", "a: >\n  b\n  # c\n", "a: >-\n\n", "a: >\n", ">-\n  a\n  b\n", "- >-\n  a\n  b\n- c\n",
	// Anchors and merges.
	"a: &x 1\nb: *x\n", "a: &x {b: 1}\nc: *x\n", "a: &x [1, 2]\nb: *x\nc: *x\n", "a: *x\n", "a: &x 1\nb: &x 2\nc: *x\n", "&x a: b\nc: *x\n", "a: &x b\n*x : c\n", "a: &x b\n*x: c\n", "a: &x\n  b: *x\n", "a: &x [*x]\n", "&x [*x]", "a: &x\nb: *x\n", "a: &x \"1\"\nb: *x\n", "a: &x 1\nb: '*x'\n", "a: &x !!str 1\nb: *x\n", "a: !!str &x 1\nb: *x\n", "a: &x &y 1\n", "a: !!str !!int 1\n", "a: &x *x\n", "a: &x 1\n---\nb: *x\n", "- &a a\n- &b [*a, *a]\n- *b\n", "&a-b_c1 x", "&é x", "&a.b x", "[&a.b x, *a.b ]", "[&a x, *a,b]", "a: & b\n", "a: * b\n", "a: &x,y 1\n", "[&x,y]",
	"a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n", "a: &x {b: 1, c: 2}\nd:\n  c: 3\n  <<: *x\n", "a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne:\n  <<: [*x, *y]\n", "a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne:\n  <<: [*y, *x]\n  f: 1\n", "a: &x {b: 1}\nc:\n  <<: *x\n  <<: {b: 2}\n", "a:\n  <<: {b: 1}\n  c: 2\n", "a:\n  <<: [{b: 1}, {b: 2, c: 3}]\n", "<<: {a: 1}\n", "<<: {a: 1}\na: 2\n", "a: 2\n<<: {a: 1}\n", "a: 2\n<<: {a: 1}\na: 3\n", "a: 1\na: 2\n<<: {a: 3}\n", "<<: {<<: {a: 1}, b: 2}\n", "a: &x {<<: {b: 1}}\nc: {<<: *x}\n", "<<: 1\n", "<<: ~\n", "<<:\n", "<<: a\n", "<<: []\n", "<<: [1]\n", "<<: [[{a: 1}]]\n", "a: &x [{b: 1}]\nc:\n  <<: *x\n", "a: &x [{b: 1}]\nc:\n  <<: [*x]\n", "a: &x 1\nb:\n  <<: *x\n", "'<<': {a: 1}\n", "\"<<\": {a: 1}\n", "!!str <<: {a: 1}\n", "!!merge <<: {a: 1}\n", "!!merge '<<': {a: 1}\n", "! <<: {a: 1}\n", "! '<<': {a: 1}\n", "a: <<\n", "- <<\n", "{<<: {a: 1}}", "{<<: {a: 1}, <<: {b: 2}}", "&m <<: {a: 1}\nb: 1\n", "a: &m <<\n*m : {b: 1}\n", "a: &x {b: {c: 1}}\nd:\n  <<: *x\n  b: {e: 2}\n", "<<: {1: a}\n1: b\n", "<<: {1: a}\n'1': b\n", "<<: {~: a}\n", "? <<\n: {a: 1}\n", "<<: !!null {a: 1}\n", "<<: !x {a: 1}\n", "<<: [!x {a: 1}]\n", "<<: &x {a: 1}\nb: *x\n", "a: &x {b: &y 1}\nc: *x\nd: *y\n",
	// What templates and people get wrong.
	"a: b\n c: d\n", "a:\n  b: 1\n   c: 2\n", "a:\n    b: 1\n  c: 2\n", "a: \"b\nc: d\n", "a: 'b\nc: d\n", "containers:\n- name: a\nimage: b\n", "containers:\n- name: a\n   image: b\n", "a: [b, c\nd: e\n", "a: {b: c\nd: e\n", "key: value: more\n", "a: 'it's'\n", "a: \"say \"hi\"\"\n", "a: @here\n", "a: *\n", "a: !\n", "a:\n- b\n c\n", "{{- if .x }}\na: b\n{{- end }}\n", "a: {{ .x }}\n", "a: \"{{ .x }}\"\n", "a: {{ .x }}b\n", "a: <no value>\n", "a: b\n}\n", "<a>\n", "a=b\n", "a: b; c: d\n", "a: 1 2 3\n", "- a: b\n  - c\n", "a: - b\n   - c\n", "a:\n  - b: c\n   d: e\n", "\u201ca\u201d: b\n", "a:\u00a0b\n", "a: b\u00a0\n", "a\u00a0: b\n",
	strings.Repeat("k", 1000) + ": v\n", strings.Repeat("k", 1030) + ": v\n", "\"" + strings.Repeat("k", 1030) + "\": v\n", "{" + strings.Repeat("k", 1030) + ": v}\n", "? " + strings.Repeat("k", 1030) + "\n: v\n",
}

var pods = []string{
	`apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web, version: "1"}
  annotations:
    sidecar.istio.io/inject: "true"
    proxy.istio.io/config: |
      concurrency: 2
      tracing: {sampling: 10.5}
    traffic.sidecar.istio.io/excludeInboundPorts: "15020,8080"
    notes: >-
      Two lines that
      are one.
spec:
  serviceAccountName: web
  securityContext: {fsGroup: 1337}
  containers:
  - name: web
    image: "registry.example:5000/web:1.20"
    command: ["/bin/sh", "-c", 'exec web --port=8080 # not a comment']
    args:
      - --flag
      - "--x=y: z"
      - |
        set -e
        echo "a: b" > /tmp/c
    ports:
    - {containerPort: 8080, name: http}
    - containerPort: 0x1F90
      protocol: TCP
    env:
    - name: A
      value: "yes"
    - name: B
      value: 017
    - name: NODE
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
    resources:
      limits: {cpu: 500m, memory: 1Gi}
      requests:
        cpu: 0.5
        memory: 1e3
    livenessProbe:
      httpGet: {path: '/healthz?full=1', port: http, scheme: HTTPS}
      initialDelaySeconds: 1_0
    volumeMounts: []
  volumes:
  - name: tmp
    emptyDir: {}
  - name: cfg
    configMap:
      name: cfg
      defaultMode: 0644
`,
	`apiVersion: apps/v1
kind: Deployment
metadata: &meta
  name: api
  labels: &labels
    app: api
spec:
  replicas: 3
  selector:
    matchLabels: *labels
  template:
    metadata:
      labels:
        <<: *labels
        tier: backend
    spec:
      initContainers:
        -
          name: init
          image: busybox
          command:
            - sh
            - -c
            - >
              until nslookup db;
              do echo waiting;
                sleep 2;
              done
      containers:
        # the application
        - name: api
          image: api:v2
          readinessProbe:
            exec:
              command: [cat, /tmp/ready]
            periodSeconds: 5
      tolerations:
        - key: node-role
          operator: Exists
          effect: NoSchedule
`,
	`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","annotations":{"x":"{\"a\": [1, 2]}","u":"\u003c\u003e\u0026"}},"spec":{"containers":[{"name":"a","image":"b"}]}},{"kind":"Service"}]}
`,
	`apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
spec:
  schedule: "*/5 * * * *"
  jobTemplate:
    spec:
      template:
        metadata: {annotations: {a/b: 'c'}}
        spec:
          restartPolicy: OnFailure
          containers:
          - {name: job, image: 'job:1', args: [a, "b c", 'd']}
`,
	`spec:
  securityContext:
    fsGroup: 1337
  initContainers:
  - name: istio-init
    image: "docker.io/istio/proxyv2:1.31"
    args:
    - istio-iptables
    - "-p"
    - "15001"
    - "-i"
    - "*"
    - "-x"
    - ""
    securityContext:
      allowPrivilegeEscalation: false
      capabilities:
        add:
        - NET_ADMIN
        drop:
        - ALL
      runAsUser: 0
  containers:
  - name: istio-proxy
    env:
    - name: PROXY_CONFIG
      value: |
             {"discoveryAddress":"istiod.istio-system.svc:15012","proxyMetadata":{"a":"b"}}
    - name: ISTIO_META_POD_PORTS
      value: |-
        [
            {"containerPort":80,"protocol":"TCP"}
        ]
    - name: EMPTY
      value:
    resources:
        limits:
          cpu: "2"
          memory: "1Gi"
    volumeMounts:


    - mountPath: /etc/istio/proxy
      name: istio-envoy
`,
}

// generated makes the bigger and the nested cases.
func generated() []string {
	nested := func(open, close string, depth int) string {
		return strings.Repeat(open, depth) + "1" + strings.Repeat(close, depth)
	}
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for level := 1; level < 9; level++ {
		previous := "*a" + string(rune('0'+level-1))
		bomb += "a" + string(rune('0'+level)) + ": &a" + string(rune('0'+level)) + " [" + strings.TrimSuffix(strings.Repeat(previous+", ", 10), ", ") + "]\n"
	}
	blocks := ""
	for depth := range 60 {
		blocks += strings.Repeat(" ", depth) + "a:\n"
	}
	return []string{
		nested("[", "]", 50), nested("{a: ", "}", 50), nested("- ", "", 50), blocks, nested("[", "", 30), nested("", "]", 3), bomb,
		strings.Repeat("- a\n", 300), "a: &a [1, 2, 3]\nb: [" + strings.TrimSuffix(strings.Repeat("*a, ", 60), ", ") + "]\n",
		"a: " + strings.Repeat("word ", 60) + "\n", "a: \"" + strings.Repeat("word ", 60) + "\"\n", "a: " + strings.Repeat("word\n  ", 30) + "\n",
	}
}
