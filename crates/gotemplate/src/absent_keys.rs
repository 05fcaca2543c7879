//! Which keys the data of a render lacks, so that a template can be specialised for all data that lack them.

/// The maps in a template's data whose keys can be known before the data is, and the functions that ask them for a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct AbsentKeys {
    /// The maps: a field of the data, and the map's field below it, such as `["ObjectMeta", "Labels"]`.
    pub maps: &'static [[&'static str; 2]],
    /// Functions that ask for a key, beside Go's own `index`.
    pub lookups: &'static [Lookup],
}

/// A function whose second argument is a key, and which looks at nothing but that key and its further arguments.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// Its name in templates.
    pub function: &'static str,
    /// The map it looks at if its first argument is what the map is a field of (`annotation .ObjectMeta "key"`); nothing if
    /// its first argument is the map.
    pub map: Option<MapId>,
}

/// A map, by its index in [`AbsentKeys::maps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapId(pub usize);

/// Go's own.
const INDEX: Lookup = Lookup { function: "index", map: None };

impl AbsentKeys {
    /// The field of the data that a map is a field of, and the map's own name.
    pub(crate) fn map(&self, map: MapId) -> Option<[&'static str; 2]> {
        self.maps.get(map.0).copied()
    }

    /// The name of a field of the data, if there are maps below it.
    pub(crate) fn owner(&self, name: &str) -> Option<&'static str> {
        self.maps.iter().find(|[owner, _]| *owner == name).map(|[owner, _]| *owner)
    }

    /// The map with this name below a field of the data.
    pub(crate) fn below(&self, owner: &str, name: &str) -> Option<MapId> {
        self.maps.iter().position(|path| *path == [owner, name]).map(MapId)
    }

    /// How a function asks for a key, if it does.
    pub(crate) fn lookup(&self, function: &str) -> Option<&Lookup> {
        self.lookups.iter().chain([&INDEX]).find(|lookup| lookup.function == function)
    }

    /// Every map.
    pub(crate) fn ids(&self) -> impl Iterator<Item = MapId> {
        (0..self.maps.len()).map(MapId)
    }
}

/// The keys that a template asks the maps for by name, sorted.
#[derive(Debug, Default)]
pub struct Keys {
    pub(crate) of: AbsentKeys,
    keys: Vec<(MapId, String)>,
}

/// Which of a template's keys there are: a bit for each. The shape of the data, as far as one template looks at its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present(u128);

impl Keys {
    /// The keys that fit; of more than that nothing is known.
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

    /// Which of the keys are among these.
    pub fn present<'k>(&self, keys: impl IntoIterator<Item = (MapId, &'k str)>) -> Present {
        Present(keys.into_iter().filter_map(|(map, key)| self.bit(map, key)).fold(0, |all, bit| all | bit))
    }

    /// Whether no data with these keys has this one.
    pub(crate) fn lacks(&self, present: Present, map: MapId, key: &str) -> bool {
        self.bit(map, key).is_some_and(|bit| present.0 & bit == 0)
    }
}

impl Present {
    /// Nothing is known to be absent.
    pub const ANY: Present = Present(u128::MAX);
}
