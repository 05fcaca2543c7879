"""Writes the parts of the chart's values.schema.json that follow from the injector's tables of types (crates/istio-config and crates/injector):
MeshConfig and what is under it, the Kubernetes structs that templates copy from the values, and the types of the values themselves.

A place whose type is a struct takes the struct's keys and no others; the server checks their values. A value that the injector
has a type for takes what the injector takes, so that helm refuses what no replica would apply; crates/injector compares the two.
"""

import json
import re

from chart import CHART, ROOT

SCHEMA = CHART / "values.schema.json"
# The prefix of generated definitions in the schema's $defs.
OURS = "type."
# The places in the schema, and the types they hold.
PLACES = {
    ("$defs", "proxyConfig"): "PROXY_CONFIG",
    ("$defs", "meshConfig"): "MESH_CONFIG",
    ("$defs", "gateways", "properties", "securityContext"): "POD_SECURITY_CONTEXT",
    ("$defs", "global", "properties", "proxy", "properties", "lifecycle"): "LIFECYCLE",
}


TYPES = {
    "Text": {"type": ["string", "null"]},
    "Tag": {"type": ["string", "number", "null"]},
    "Bool": {"type": ["boolean", "null"]},
    # The injector reads a number in quotes too; here it is short enough for a pattern that people can read.
    "Uint32": {"type": ["integer", "string", "null"], "minimum": 0, "maximum": 2**32 - 1, "pattern": "^[0-9]{1,9}$"},
    "Map": {"type": ["object", "null"]},
    "Texts": {"type": ["array", "null"], "items": {"type": "string"}},
}


def shapes():
    """The types of the values by path, as crates/injector/src/config/values.rs has them."""
    text = (ROOT / "crates/injector/src/config/values.rs").read_text()
    constants = dict(re.findall(r"^const (\w+): &\[\(&str, Shape\)\] = &\[(.*?)\n\];", text, re.MULTILINE | re.DOTALL))
    ((root,),) = (re.findall(r"static SHAPE: Shape = Fields\(&\[(.*?)\n\]\);", text, re.DOTALL),)
    found = {}

    def read(tokens, path):
        """The fields up to the closing bracket."""
        while tokens and tokens[0] != "]":
            key = tokens.pop(0)
            if not key.startswith('"'):
                continue
            inner, shape = (*path, key.strip('"')), tokens.pop(0).removeprefix("Shape::")
            if shape == "OneOf":
                words = tokens[: tokens.index("]")]
                found[inner] = {"enum": [word.strip('"') for word in words if word.startswith('"')] + [None]}
                del tokens[: len(words) + 1]
            elif shape == "Fields":
                found[inner] = {"type": ["object", "null"]}
                if tokens[0] in constants:
                    read(split(constants[tokens.pop(0)]), inner)
                else:
                    assert tokens.pop(0) == "[", tokens
                    read(tokens, inner)
                    tokens.pop(0)
            else:
                found[inner] = TYPES[shape]

    def split(text):
        return re.findall(r'"[^"]*"|[\w:]+|[\[\]]', text)

    read(split(root), ())
    assert len(found) > 50, found
    return found


def typed(schema):
    """Gives the values the types that the injector demands; everything else about them stays."""
    for path, shape in shapes().items():
        place = schema
        for step in path:
            while "$ref" in place:
                place = schema["$defs"][place["$ref"].rpartition("/")[2]]
            place = place.setdefault("properties", {}).setdefault(step, {})
        while "$ref" in place:
            place = schema["$defs"][place["$ref"].rpartition("/")[2]]
        # Where the chart itself takes less, such as for a policy or a revision, that stays.
        if "enum" in place and "enum" not in shape:
            continue
        for key in {"type", "enum", "minimum", "maximum"} - set(shape):
            place.pop(key, None)
        place |= {key: inner for key, inner in shape.items() if key not in ("pattern", "items") or key not in place}
    return schema


def tables():
    """The structs by the names of their tables: the Go name, and by JSON name the name of the struct a field holds."""
    structs, irregular = {}, {}
    for file in ("istio-config/src/gotypes.rs", "injector/src/gotypes/kubernetes.rs"):
        text = (ROOT / "crates" / file).read_text()
        pattern = r'static (\w+): Type = Type \{ name: "([^"]+)", proto: (\w+), fields: &\[(.*?)\] \};'
        for table, name, proto, body in re.findall(pattern, text, re.DOTALL):
            assert table not in structs, table
            fields = re.findall(r'^    f\("\w*", "([^"]*)", (.*)\),$', body, re.MULTILINE)
            structs[table] = (name, proto == "true", [(json_name, kind) for json_name, kind in fields])
        names = re.search(r"IRREGULAR_NAMES: .*?&\[(.*?)\n\];", text, re.DOTALL)
        for name, proto, json_name in re.findall(r'\("([^"]+)", "([^"]+)", "([^"]+)"\)', names.group(1) if names else ""):
            irregular[name, json_name] = proto
    return structs, irregular


def place_of(kind, needed):
    """The schema of a field; only structs are looked into, in lists and maps too."""
    found = re.fullmatch(r"((?:&?Kind::(?:Pointer|List|Map)\()*)&?Kind::Struct\(&(\w+)\)+", kind)
    if not found:
        return {}
    needed.append(found.group(2))
    result = {"$ref": f"#/$defs/{OURS}{found.group(2)}"}
    for wrapper in reversed(re.findall(r"List|Map", found.group(1))):
        result = {"items": result} if wrapper == "List" else {"additionalProperties": result}
    return result


def proto_name(name, json_name, irregular):
    return irregular.get((name, json_name)) or re.sub(r"[A-Z]", lambda letter: "_" + letter.group().lower(), json_name)


def properties(table, structs, irregular, needed):
    name, proto, fields = structs[table]
    result = {}
    for json_name, kind in fields:
        place = place_of(kind, needed)
        for key in (json_name, proto_name(name, json_name, irregular)) if proto else (json_name,):
            result[key] = place
    return dict(sorted(result.items()))


def written(schema):
    """The schema with the generated parts rewritten."""
    structs, irregular = tables()
    definitions = {name: place for name, place in schema["$defs"].items() if not name.startswith(OURS)}
    schema = {**schema, "$defs": definitions}
    needed = []
    for path, table in PLACES.items():
        place = schema
        for step in path:
            place = place[step]
        # Other known keys stay, such as fields of older versions and the types of scalars.
        known = place.get("properties", {})
        found = properties(table, structs, irregular, needed)
        place["properties"] = dict(sorted((known | {key: inner or known.get(key, {}) for key, inner in found.items()}).items()))
        place["additionalProperties"] = False
    kept = {"MESH_CONFIG": "#/$defs/meshConfig", "PROXY_CONFIG": "#/$defs/proxyConfig"}
    done = {}
    while needed:
        table = needed.pop()
        if table in kept:
            done[table] = {"$ref": kept[table]}
        elif table not in done:
            done[table] = {"type": ["object", "null"], "properties": properties(table, structs, irregular, needed),
                           "additionalProperties": False}
    definitions |= {OURS + table: done[table] for table in sorted(done)}
    return typed(schema)


def text(schema):
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text(written(json.loads(SCHEMA.read_text()))))
