#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: outrigger_fuzz::init("patch"), |bytes: &[u8]| -> Corpus { outrigger_fuzz::fuzz("patch", bytes) });
