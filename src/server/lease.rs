//! Leader election over a Lease: one replica writes what the others read.
