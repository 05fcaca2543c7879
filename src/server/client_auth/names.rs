//! The names in a certificate: its common name, and the DNS names and URIs among its subject alternative names. Pure.

use std::fmt;

use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

/// The accepted names; a certificate must have one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedNames {
    /// Accepts every certificate that the CA signed: for a CA with no other purpose.
    Any,
    /// Exactly one of these.
    These(Vec<String>),
}

/// The names of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    common: Option<String>,
    dns: Vec<String>,
    uris: Vec<String>,
}

/// Maximum length at which a name from a client is logged.
const SHOWN: usize = 128;
/// Maximum number of names that are logged.
const MOST: usize = 8;

impl Names {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Names {
        let mut common = certificate.subject().iter_common_name();
        let mut names = Names {
            // With several common names, implementations differ in which one counts, so none does.
            common: match (common.next(), common.next()) {
                (Some(name), None) => name.as_str().ok().map(str::to_owned),
                _ => None,
            },
            ..Names::default()
        };
        let alternative = certificate.subject_alternative_name().ok().flatten();
        for name in alternative.into_iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::URI(name) => names.uris.push((*name).to_owned()),
                _ => {}
            }
        }
        names
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.common.iter().chain(&self.dns).chain(&self.uris).map(String::as_str)
    }
}

impl AllowedNames {
    /// Whether one of the names is allowed, compared byte by byte.
    pub(super) fn allow(&self, names: &Names) -> bool {
        match self {
            AllowedNames::Any => true,
            AllowedNames::These(allowed) => names.all().any(|name| allowed.iter().any(|one| one == name)),
        }
    }
}

impl fmt::Display for AllowedNames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllowedNames::Any => out.write_str("any name"),
            AllowedNames::These(names) => {
                let quoted: Vec<_> =
                    names.iter().take(MOST).map(|name| format!("{:?}", shown(name))).collect();
                out.write_str(&quoted.join(", "))
            }
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let common = self.common.iter().map(|name| ("CN", name));
        let dns = self.dns.iter().map(|name| ("DNS", name));
        let uris = self.uris.iter().map(|name| ("URI", name));
        let all: Vec<_> = common.chain(dns).chain(uris).collect();
        if all.is_empty() {
            return out.write_str("no name");
        }
        let quoted: Vec<_> =
            all.iter().take(MOST).map(|(kind, name)| format!("{kind} {:?}", shown(name))).collect();
        out.write_str(&quoted.join(", "))?;
        match all.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(out, " and {more} more"),
        }
    }
}

/// A text from a client, made safe for a log line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(common: &[&str], alternative: &[rcgen::SanType]) -> Names {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (index, name) in common.iter().enumerate() {
            // `rcgen` allows each type of name once in a certificate, but treats the same type given by its OID as
            // another one.
            let kind = match index {
                0 => rcgen::DnType::CommonName,
                _ => rcgen::DnType::CustomDnType(vec![2, 5, 4, 3]),
            };
            parameters.distinguished_name.push(kind, *name);
        }
        parameters.subject_alt_names = alternative.to_vec();
        let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        Names::of(&x509_parser::parse_x509_certificate(certificate.der()).unwrap().1)
    }

    fn san(kind: fn(rcgen::string::Ia5String) -> rcgen::SanType, name: &str) -> rcgen::SanType {
        kind(name.try_into().unwrap())
    }

    #[test]
    fn a_name_is_allowed_to_the_byte_and_by_kind() {
        let found = names(
            &["api"],
            &[
                san(rcgen::SanType::DnsName, "api.example"),
                san(rcgen::SanType::URI, "spiffe://example/api"),
                san(rcgen::SanType::Rfc822Name, "mail@example"),
                rcgen::SanType::IpAddress([10, 0, 0, 1].into()),
            ],
        );
        for (allowed, wanted) in [
            ("api", true),
            ("api.example", true),
            ("spiffe://example/api", true),
            ("API", false),
            ("api.example.", false),
            ("*.example", false),
            ("ap", false),
            ("", false),
            ("mail@example", false),
            ("10.0.0.1", false),
        ] {
            let these = AllowedNames::These(vec!["other".to_owned(), allowed.to_owned()]);
            assert_eq!(these.allow(&found), wanted, "{allowed:?}");
        }
        assert!(!AllowedNames::These(Vec::new()).allow(&found));
        assert!(AllowedNames::Any.allow(&found));
        assert_eq!(found.to_string(), r#"CN "api", DNS "api.example", URI "spiffe://example/api""#);
    }

    #[test]
    fn of_two_common_names_none_counts() {
        let found = names(&["api", "mallory"], &[]);
        for name in ["api", "mallory"] {
            assert!(!AllowedNames::These(vec![name.to_owned()]).allow(&found), "{name}");
        }
        assert_eq!(found.to_string(), "no name");
    }

    #[test]
    fn what_somebody_else_chose_stays_one_short_line() {
        let long = "x".repeat(1000);
        let found = names(&[&format!("a\nlevel=INFO \"{long}")], &[]);
        let line = found.to_string();
        assert!(!line.contains('\n') && line.len() < 200, "{line}");
    }
}
