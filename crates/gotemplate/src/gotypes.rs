//! The shapes of the Go structs that templates see, as data.
//!
//! A template uses Go field names (`.Spec.Containers`), a pod is JSON (`spec.containers`), and only Go knows the value
//! of an absent field. These tables contain that knowledge once: for templates by Go name, for Istio's own documents by
//! JSON name. Nothing here reads a value; the meaning of a kind is defined where it is evaluated or decoded.

/// A Go struct.
#[derive(Debug)]
pub struct Type {
    /// The Go name with its package, such as `v1.PodSpec`.
    pub name: &'static str,
    /// Whether it is a protobuf message, which has getters that may be called on nil.
    pub proto: bool,
    /// Its fields, embedded structs flattened, sorted by Go name.
    pub fields: &'static [Field],
}

/// A field of a Go struct; a member of a protobuf oneof counts as a field of its message.
#[derive(Debug)]
pub struct Field {
    /// The Go name, such as `ImagePullPolicy`.
    pub go: &'static str,
    /// The key in JSON, such as `imagePullPolicy`.
    pub json: &'static str,
    /// The kind of its values.
    pub kind: Kind,
}

/// The kind of a field's values.
#[derive(Debug)]
pub enum Kind {
    /// `bool`.
    Bool,
    /// A signed integer of any width.
    Int,
    /// An unsigned integer of any width.
    Uint,
    /// A floating-point number.
    Float,
    /// `string`, or a type based on it.
    String,
    /// `[]byte`, base64 in JSON.
    Bytes,
    /// `interface{}` or a protobuf Struct: any JSON.
    Any,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `metav1.Time`, RFC 3339 in JSON.
    Time,
    /// `*durationpb.Duration`, `"1.5s"` in JSON.
    Duration,
    /// `*wrapperspb.BoolValue`.
    BoolValue,
    /// `*wrapperspb.UInt32Value`.
    UInt32Value,
    /// `*wrapperspb.Int32Value`.
    Int32Value,
    /// `*wrapperspb.DoubleValue`.
    DoubleValue,
    /// `*wrapperspb.StringValue`.
    StringValue,
    /// A protobuf enum, written in JSON as the name of its value.
    Enum(&'static Enum),
    /// A struct by value.
    Struct(&'static Type),
    /// A pointer; absent is nil.
    Pointer(&'static Kind),
    /// A slice.
    List(&'static Kind),
    /// A map with string keys.
    Map(&'static Kind),
}

/// A protobuf enum.
#[derive(Debug)]
pub struct Enum {
    /// The Go name with its package, such as `v1alpha1.ProxyConfig_InboundInterceptionMode`.
    pub name: &'static str,
    /// Names and numbers; the first is the zero value.
    pub values: &'static [(&'static str, i32)],
}

impl Type {
    /// The field with this Go name.
    pub fn field_by_go(&self, name: &str) -> Option<&'static Field> {
        let fields = self.fields;
        fields.binary_search_by(|field| field.go.cmp(name)).ok().and_then(|at| fields.get(at))
    }

    /// The field that a protobuf getter such as `GetTracing` reads; `None` for structs that are not messages.
    pub fn field_by_getter(&self, method: &str) -> Option<&'static Field> {
        if self.proto { self.field_by_go(method.strip_prefix("Get")?) } else { None }
    }

    /// The field with this JSON key.
    pub fn field_by_json(&self, key: &str) -> Option<&'static Field> {
        // Most Go names are the capitalized key.
        let (first, rest) = key.as_bytes().split_first()?;
        let wanted = (first.to_ascii_uppercase(), rest);
        let likely = self.fields.binary_search_by(|field| match field.go.as_bytes().split_first() {
            Some((first, rest)) => (*first, rest).cmp(&wanted),
            None => std::cmp::Ordering::Less,
        });
        let likely = likely.ok().and_then(|at| self.fields.get(at)).filter(|field| field.json == key);
        likely.or_else(|| self.fields.iter().find(|field| field.json == key))
    }
}

impl Kind {
    /// The struct of this kind, with pointers dereferenced.
    pub fn message(&self) -> Option<&'static Type> {
        match self {
            Kind::Struct(ty) => Some(ty),
            Kind::Pointer(kind) => kind.message(),
            _ => None,
        }
    }

    /// The struct type of a list's elements.
    pub fn elements(&self) -> Option<&'static Type> {
        match self {
            Kind::List(kind) => kind.message(),
            _ => None,
        }
    }
}

impl Enum {
    /// The number of a named value.
    pub fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    /// The first name for a number.
    pub fn value_name(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
    }
}
