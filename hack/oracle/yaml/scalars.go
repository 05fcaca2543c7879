package main

import "strings"

// scalarTexts are tried as a value, as a key, in quotes, under each tag, and as a string to be written.
var scalarTexts = lines(`
y
Y
n
N
yes
Yes
YES
yEs
no
No
NO
on
On
ON
off
Off
OFF
true
True
TRUE
tRUE
false
False
FALSE
t
f
o
~
null
Null
NULL
nULL
nil
none
0
-0
+0
00
1
-1
+1
01
07
08
09
-08
017
-017
+017
0o17
0O17
-0o17
0o18
0o
0b11
0B11
-0b11
+0b11
0b
0b2
-0b
0x10
0X1f
-0x10
+0x10
0x
0xg
1_000
1__000
_1
-_1
1_
0_8
0_7
0x_1
0b_1
1_000.5
1_e3
123456789
2147483648
9223372036854775807
9223372036854775808
-9223372036854775808
-9223372036854775809
18446744073709551615
+18446744073709551615
18446744073709551616
99999999999999999999999999
0x7fffffffffffffff
0x8000000000000000
0xffffffffffffffff
0x10000000000000000
0b1111111111111111111111111111111111111111111111111111111111111111
0b11111111111111111111111111111111111111111111111111111111111111111
1.0
1.5
-1.5
+1.5
1.
.5
-.5
+.5
.
..
-.
+.
.e1
.5e1
.5_0
.5__0
.5_
._5
.5_e1
.5e_1
.5e1_0
.1_2_3
1.e3
1e3
1E3
1e+3
1e-3
1e03
1e
e1
1.5e
1e400
-1e400
.5e400
1e308
1e309
1e-400
1e20
1e21
1e22
1.5e21
1e15
1e16
123456789012345678
1234567890123456789012
12345678901234567000.0
3.141592653589793
0.1
0.30000000000000004
100000.0
1000000.0
1234567.5
0.0001
0.00001
0.000001
0.0000001
1.7976931348623157e308
5e-324
-0.0
0x1p-2
0x1.8p1
1p2
.inf
.Inf
.INF
.iNF
+.inf
-.inf
-.INF
inf
Infinity
.nan
.NaN
.NAN
.Nan
nan
-.nan
2001-01-01
2001-1-1
2001-1-32
2001-02-29
2000-02-29
1900-02-29
2001-13-01
2001-00-01
2001-01-00
01-01-01
20010-01-01
2001-01-01T00:00:00Z
2001-01-01t00:00:00Z
2001-01-01T0:0:0Z
2001-01-01T24:00:00Z
2001-01-01T23:60:00Z
2001-01-01T23:59:60Z
2001-01-01T23:59:59.123456789Z
2001-01-01T23:59:59,5Z
2001-01-01T23:59:59.Z
2001-01-01T23:59:59+01:00
2001-01-01T23:59:59-24:60
2001-01-01T23:59:59-25:00
2001-01-01T23:59:59+1:00
2001-01-01T23:59:59
2001-01-01 23:59:59
2001-01-01  23:59:59
2001-01-01 23:59:59.5
2001-01-01 23:59:59Z
2001-01-01 23:59
2001-01-01 1:2:3
2001-01-01x
2001-
12:30
12:30:45
1:60
190:20:30
190:20:30.15
1_0:20
0:0
-1:30
+1:30.
12:3a
1:2:
8080
10m
1Gi
500m
0.5
100Mi
1e3m
1.2.3
v1.2
1.2.3.4
10.0.0.0/8
15s
1h30m
a
a b
a:b
a#b
a,b
a - b
=
==
<<
<
>=1
-
-a
--
--a
---
...
..a
?a
:a
a:
@a
%a
&
*
!
|
>
'
"
,
[
]
{
}
#
:
?
\
/
a/b
$a
$(POD_NAME)
{{ .Values.x }}
ä
日本
😀
y: y
`)

func scalarLoads() []string {
	var out []string
	for _, text := range scalarTexts {
		out = append(out, "v: "+text)
	}
	for _, text := range lines(`
y
no
~
null
1
01
0x10
0b11
1_000
+1
-1
-0
1.0
1.5
.5
1e3
1000000.0
1234567.0
16777217.0
3.141592653589793
0.1
1e20
1e21
1e39
-1e39
1e-7
1e-46
0.00001
.inf
-.inf
.nan
9223372036854775807
9223372036854775808
18446744073709551615
99999999999999999999999999
2001-01-01
a b
"1"
'null'
"a\nb"
!!str 1
!!int "1"
!!float 1
!!binary aGk=
!!null x
!!null ~
<<x
"<<"
'<<'
!!str <<
! "1"
? a
`) {
		out = append(out, text+": v")
	}
	tags := []string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!binary", "!!merge", "!", "!mine",
		"!!unknown", "!<tag:yaml.org,2002:int>", "!<x>"}
	for _, tag := range tags {
		for _, text := range []string{"", "1", `"1"`, "'0x10'", "1.5", "1.0", "yes", `"yes"`, "null", "~", "abc", "2001-01-01", `"2001-01-01"`,
			"aGVsbG8=", "//79", "18446744073709551615", ".inf", "<<"} {
			out = append(out, "v: "+tag+" "+text)
		}
	}
	out = append(out,
		"v: !!binary aGVs\n  bG8=", "v: !!binary |\n  aGVs\n  bG8=\n", "v: !!binary aGVsbG8", "v: !!binary aGVsbG9=", "v: !!binary ''",
		"v: !!binary gICA", "v: !!binary 4oKs4oI=", "v: !!binary 4oI=", "v: !!binary a GVsbG8=",
		"v: !!seq [1]", "v: !!map {a: 1}", "v: !!map [1]", "v: !!seq {a: 1}", "v: !!omap [a: 1]", "v: !!set {a, b}", "v: !!str [1]", "v: !!null [1]",
		"v: !!str {a: 1}", "!!map\na: 1", "!!int 1", "!x [!y 1, !z {a: !w b}]", "%TAG !e! tag:example.com,2000:\n---\nv: !e!x 1",
		"%TAG !! tag:yaml.org,2002:\n---\nv: !!int '1'", "%TAG !e! tag:yaml.org,2002:\n---\nv: !e!int '1'", "v: !e!x 1", "%YAML 1.1\n---\na: 1",
		"%YAML 1.2\n---\na: 1", "%YAML 2.0\n---\na: 1", "%FOO bar\n---\na: 1", "%YAML 1.1\n%YAML 1.1\n---\na: 1",
	)
	return out
}

func scalarWrites() []any {
	var out []any
	for _, text := range scalarTexts {
		out = append(out, map[string]any{"v": text}, map[string]any{text: 1})
	}
	for _, text := range []string{"", " ", "  ", " a", "a ", "a  b", "\t", "\ta", "a\t", "a\tb", "\n", "\n\n", "\n\n\n", "a\n", "a\n\n", "a\n\n\n", "\na", "\n\na\n",
		"a\nb", "a\nb\n", "a\n\nb\n", "a\n b\n", " a\nb\n", "  a\n  b\n", "a \nb\n", "a\nb ", "a\nb \n", "a\n\tb\n", "\ta\nb", "a\r\nb\r\n", "a\rb", "# a\nb\n", "a\n# b\n",
		"a\n---\nb\n", "---\na\n", "a: b\nc: d\n", "- a\n- b\n", "'", "''", "a'b", "'a'", "\"", "a\"b", "\"a\"", "\\", "a\\b", "'\n'", "a 'b' c", " 'a'", "a: 'b'",
		"# a", "a #b", "a# b", "a: b", "a :b", ": a", ":a", "- a", "-a", "? a", "?a", "[a", "{a", "]a", "}a", ",a", "a,b", "a]", "&a", "*a", "!a", "|a", ">a", "%a", "@a", "`a`",
		"--- a", "---a", "... a", "...a", "a ---", "\x00", "\x01", "\x07", "\x08", "\x0b", "\x0c", "\r", "\x1b", "\x1f", "\x7f", "\u0080", "\u0085", "\u009f", "\u00a0", "a\u00a0b",
		"\u2028", "a\u2028b", "a\u2029b", "a\u0085b", "a\u2028b\nc", "\ufeff", "\ufeffab c", "a\ufeffb", "\ufffd", "\ufffe", "\uffff", "\ue000", "\ue000" + "0\ue001", "\U0001F600", "a\U0001F600b", "a\n\U0001F600\n", "é", "日本語", "a\n日本\n",
		"\u200b", "\u200d", "null\n", "1\n", "true\n",
	} {
		out = append(out, map[string]any{"v": text}, map[string]any{text: "v"}, []any{text}, text)
	}
	word := "lorem ipsum dolor sit amet consectetur "
	long := strings.Repeat(word, 6)
	for _, text := range []string{long, long + "x", " " + long + "x", "# " + long + "x", "\t" + long + "x", long + ": " + long + "x", strings.Repeat("x", 200), strings.Repeat("x", 79) + " y", strings.Repeat("x", 80) + " y",
		strings.Repeat("x", 81) + " y", strings.Repeat("x", 100) + "  y", "'" + strings.Repeat("x", 100) + "  y z", "\t" + strings.Repeat("x", 100) + "  y z", "\t" + strings.Repeat("x", 100) + "   y z", "\t" + strings.Repeat("x ", 100),
		"a\n" + long + "x", strings.Repeat("it's a ", 30), strings.Repeat("日本 ", 60) + "x", strings.Repeat("é ", 60), strings.Repeat("a  ", 60) + "x", "# " + strings.Repeat("a  ", 60) + "x", strings.Repeat("-a - ", 40) + "x",
		strings.Repeat("😀 ", 30), strings.Repeat("x", 90) + " # y", strings.Repeat("x", 90) + " ", "#" + strings.Repeat("x", 90) + " y ", "#" + strings.Repeat("x", 90) + " ", "\t" + strings.Repeat("x", 90) + " ", "\t" + strings.Repeat("x", 90) + " y ",
		strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("é", 64), strings.Repeat("é", 65), "1" + strings.Repeat("0", 130), strings.Repeat("word ", 26) + "x", "#" + strings.Repeat("word ", 26) + "x", "\t" + strings.Repeat("word ", 26) + "x",
	} {
		out = append(out, map[string]any{"v": text}, map[string]any{text: "v"}, map[string]any{text: []any{1, map[string]any{"a": 1}}}, []any{[]any{text}}, text,
			map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": text, "d": text}}}})
	}
	for _, number := range []any{0, 1, -1, 42, 1.5, -1.5, 0.1, 1e6, 1e20, 1e21, 1e22, 1.5e21, 123456.5, 1234567.5, 123456789.25, 1e-4, 1e-5, 1e-6, 1e-7, 1.25e-7, 5e-324, 1.7976931348623157e308, int64(9223372036854775807), int64(-9223372036854775808),
		uint64(18446744073709551615), 3.141592653589793, 1e15, 1e16, 1.2345678901234567e19, 0.30000000000000004, 100000.5, 0.00012345} {
		out = append(out, number, map[string]any{"v": number})
	}
	return out
}
