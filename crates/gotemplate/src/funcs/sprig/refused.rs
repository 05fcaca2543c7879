//! sprig's functions that depend on things a render must not use: a clock, randomness, keys, the network, the
//! environment.

use super::super::Row;

const CLOCK: &str = "templates have no clock; the result would differ between pods";
const DATES: &str = "dates depend on the machine's clock and time zone";
const RANDOM: &str = "templates have no randomness; the result would differ between pods";
const KEYS: &str = "keys and certificates do not belong in a rendered pod; use a Secret";
const PASSWORDS: &str = "a password or its hash does not belong in a rendered pod; use a Secret";
const ENCRYPTION: &str = "encrypted text does not belong in a rendered pod; use a Secret";
const NETWORK: &str = "templates have no network access";
const ENVIRONMENT: &str =
    "templates have no environment; use env with a variable that the configuration allows";

pub(super) const ROWS: &[Row] = &[
    Row::refused("now", CLOCK),
    Row::refused("ago", CLOCK),
    Row::refused("date", DATES),
    Row::refused("date_in_zone", DATES),
    Row::refused("date_modify", DATES),
    Row::refused("dateInZone", DATES),
    Row::refused("dateModify", DATES),
    Row::refused("htmlDate", DATES),
    Row::refused("htmlDateInZone", DATES),
    Row::refused("must_date_modify", DATES),
    Row::refused("mustDateModify", DATES),
    Row::refused("mustToDate", DATES),
    Row::refused("toDate", DATES),
    Row::refused("unixEpoch", DATES),
    Row::refused("randAlpha", RANDOM),
    Row::refused("randAlphaNum", RANDOM),
    Row::refused("randAscii", RANDOM),
    Row::refused("randBytes", RANDOM),
    Row::refused("randInt", RANDOM),
    Row::refused("randNumeric", RANDOM),
    Row::refused("shuffle", RANDOM),
    Row::refused("uuidv4", RANDOM),
    Row::refused("genPrivateKey", KEYS),
    Row::refused("genCA", KEYS),
    Row::refused("genCAWithKey", KEYS),
    Row::refused("genSelfSignedCert", KEYS),
    Row::refused("genSelfSignedCertWithKey", KEYS),
    Row::refused("genSignedCert", KEYS),
    Row::refused("genSignedCertWithKey", KEYS),
    Row::refused("buildCustomCert", KEYS),
    Row::refused("bcrypt", PASSWORDS),
    Row::refused("derivePassword", PASSWORDS),
    Row::refused("htpasswd", PASSWORDS),
    Row::refused("encryptAES", ENCRYPTION),
    Row::refused("decryptAES", ENCRYPTION),
    Row::refused("getHostByName", NETWORK),
    Row::refused("expandenv", ENVIRONMENT),
];
