#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: outrigger_fuzz::init("review"), |bytes: &[u8]| -> Corpus { outrigger_fuzz::fuzz("review", bytes) });
