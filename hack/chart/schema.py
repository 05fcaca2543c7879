"""Writes the parts of the chart's values.schema.json that follow from the injector's tables of types (crates/istio-config and crates/injector):
MeshConfig and what is under it, and the Kubernetes structs that templates copy from the values.

A place whose type is a struct takes the struct's keys and no others; what the keys hold is said by the server.
"""

import json
import re

from chart import CHART, ROOT

SCHEMA = CHART / "values.schema.json"
# The prefix of what is written here, in the schema's $defs.
OURS = "type."
# The places in the schema, and the types they hold.
PLACES = {
    ("$defs", "proxyConfig"): "PROXY_CONFIG",
    ("$defs", "meshConfig"): "MESH_CONFIG",
    ("$defs", "gateways", "properties", "securityContext"): "POD_SECURITY_CONTEXT",
    ("$defs", "global", "properties", "proxy", "properties", "lifecycle"): "LIFECYCLE",
}


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
    """The schema with what is written here, anew."""
    structs, irregular = tables()
    definitions = {name: place for name, place in schema["$defs"].items() if not name.startswith(OURS)}
    schema = {**schema, "$defs": definitions}
    needed = []
    for path, table in PLACES.items():
        place = schema
        for step in path:
            place = place[step]
        # What is known there besides stays, such as fields of older versions and the types of scalars.
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
    return schema


def text(schema):
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text(written(json.loads(SCHEMA.read_text()))))
