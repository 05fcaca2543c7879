//! Describes keys that are absent from the data of a render, so that a template can be specialized for all data without
//! them.

/// The maps in a template's data whose keys can be known in advance, and the functions that look up keys in them.
#[derive(Clone, Copy, Debug, Default)]
pub struct AbsentKeys {
    /// The maps: a field of the data, and the map's field in it, such as `["ObjectMeta", "Labels"]`.
    pub maps: &'static [[&'static str; 2]],
    /// Functions that look up a key, besides Go's own `index`.
    pub lookups: &'static [Lookup],
}

/// A function whose second argument is a key, and which depends only on that key and its further arguments.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// Its name in templates.
    pub function: &'static str,
    /// The map in which it looks if its first argument is the map's owner (`annotation .ObjectMeta "key"`); `None` if
    /// its first argument is the map itself.
    pub map: Option<MapId>,
}

/// A map, by its index in [`AbsentKeys::maps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapId(pub usize);

/// Go's `index`.
const INDEX: Lookup = Lookup { function: "index", map: None };

impl AbsentKeys {
    /// The field of the data that owns a map, and the map's own name.
    pub(crate) fn map(&self, map: MapId) -> Option<[&'static str; 2]> {
        self.maps.get(map.0).copied()
    }

    /// The name of a field of the data, if it owns maps.
    pub(crate) fn owner(&self, name: &str) -> Option<&'static str> {
        self.maps.iter().find(|[owner, _]| *owner == name).map(|[owner, _]| *owner)
    }

    /// The map with this name in a field of the data.
    pub(crate) fn below(&self, owner: &str, name: &str) -> Option<MapId> {
        self.maps.iter().position(|path| *path == [owner, name]).map(MapId)
    }

    /// How a function looks up a key, if it does.
    pub(crate) fn lookup(&self, function: &str) -> Option<&Lookup> {
        self.lookups.iter().chain([&INDEX]).find(|lookup| lookup.function == function)
    }

    /// Every map.
    pub(crate) fn ids(&self) -> impl Iterator<Item = MapId> {
        (0..self.maps.len()).map(MapId)
    }
}

/// The keys that a template looks up by name in the maps, sorted.
#[derive(Debug, Default)]
pub struct Keys {
    pub(crate) of: AbsentKeys,
    keys: Vec<(MapId, String)>,
}

/// The keys of a template that are present, one bit each: the shape of the data, as far as the template depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present(u128);

impl Keys {
    /// The keys that fit; nothing is known about any others.
    pub(crate) fn new(of: AbsentKeys, keys: impl IntoIterator<Item = (MapId, String)>) -> Keys {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort();
        keys.dedup();
        keys.truncate(u128::BITS as usize);
        Keys { of, keys }
    }

    fn bit(&self, map: MapId, key: &str) -> Option<u128> {
        let found = self.keys.binary_search_by(|(other, known)| (*other, known.as_str()).cmp(&(map, key)));
        found.ok().map(|index| 1 << index)
    }

    /// Which of the keys are among the given ones.
    pub fn present<'k>(&self, keys: impl IntoIterator<Item = (MapId, &'k str)>) -> Present {
        Present(keys.into_iter().filter_map(|(map, key)| self.bit(map, key)).fold(0, |all, bit| all | bit))
    }

    /// Whether data with these keys lacks the given one.
    pub(crate) fn lacks(&self, present: Present, map: MapId, key: &str) -> bool {
        self.bit(map, key).is_some_and(|bit| present.0 & bit == 0)
    }
}

impl Present {
    /// No key is known to be absent.
    pub const ANY: Present = Present(u128::MAX);
}
