#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: outrigger_fuzz::init("template_go"), |bytes: &[u8]| -> Corpus { outrigger_fuzz::fuzz("template_go", bytes) });
