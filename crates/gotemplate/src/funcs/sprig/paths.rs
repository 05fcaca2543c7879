//! Slash-separated paths: Go's `path`, and `path/filepath` as on Unix.

use super::super::{Call, Param, Row};
use super::argument::{Outcome, computed, real};
use crate::value::Value;

use Param::String as Str;

pub(super) const ROWS: &[Row] = &[
    Row::new("base", &[Str], |call, args| map(call, args, base)),
    Row::new("dir", &[Str], |call, args| map(call, args, dir)),
    Row::new("clean", &[Str], |call, args| map(call, args, clean)),
    Row::new("ext", &[Str], |call, args| map(call, args, ext)),
    Row::new("isAbs", &[Str], |call, args| Ok(Value::Bool(real(call, args, 0)?.starts_with('/')))),
    Row::new("osBase", &[Str], |call, args| map(call, args, base)),
    Row::new("osDir", &[Str], |call, args| map(call, args, dir)),
    Row::new("osClean", &[Str], |call, args| map(call, args, clean)),
    Row::new("osExt", &[Str], |call, args| map(call, args, ext)),
    Row::new("osIsAbs", &[Str], |call, args| Ok(Value::Bool(real(call, args, 0)?.starts_with('/')))),
];

fn map<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], change: fn(&str) -> String) -> Outcome<'a> {
    let changed = change(&real(call, args, 0)?);
    computed(call, changed, args)
}

/// `path.Base`.
fn base(path: &str) -> String {
    match (path, path.trim_end_matches('/')) {
        ("", _) => ".".to_owned(),
        (_, "") => "/".to_owned(),
        (_, path) => path.rsplit('/').next().unwrap_or(path).to_owned(),
    }
}

/// `path.Dir`.
fn dir(path: &str) -> String {
    clean(path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default())
}

/// `path.Ext`.
fn ext(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').and_then(|at| name.get(at..)).unwrap_or_default().to_owned()
}

/// `path.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            part => kept.push(part),
        }
    }
    match (rooted, kept.is_empty()) {
        (true, _) => format!("/{}", kept.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => kept.join("/"),
    }
}
