//! What all pages have in common: head, navigation, landmarks.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{ICON, SCRIPT, STYLE};

/// A section of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The playground.
    Playground,
    /// Templates and their tests.
    Templates,
    /// Reasons and warnings.
    Reasons,
    /// None of those in the navigation.
    Other,
}

/// The sections in the navigation of `outrigger ui`.
const SECTIONS: [(Section, &str, &str); 3] = [
    (Section::Playground, "/", "Playground"),
    (Section::Templates, "/templates", "Templates"),
    (Section::Reasons, "/reasons", "Reasons"),
];

/// A page of `outrigger ui`.
pub fn page(title: &str, section: Section, content: &Markup) -> String {
    let links = html! {
        link rel="stylesheet" href=(STYLE.path);
        link rel="icon" type="image/svg+xml" href=(ICON.path);
        @if matches!(section, Section::Playground | Section::Templates) { script type="module" src=(SCRIPT.path) {} }
    };
    let navigation = html! {
        nav aria-label="Pages" {
            ul {
                @for (own, path, name) in SECTIONS {
                    li { a href=(path) aria-current=[(own == section).then_some("page")] { (name) } }
                }
            }
        }
    };
    document(title, &links, &navigation, content)
}

/// A page without navigation, which needs no session.
pub fn notice(title: &str, content: &Markup) -> String {
    let links = html! {
        link rel="stylesheet" href=(STYLE.path);
        link rel="icon" type="image/svg+xml" href=(ICON.path);
    };
    document(title, &links, &html! {}, content)
}

/// The page that opens a session: the browser follows its link by itself, so that the link with the token does not stay
/// in the history and the request for the page comes from our own site, as a `SameSite=Strict` cookie requires.
pub fn entrance(to: &str) -> String {
    let links = html! {
        link rel="stylesheet" href=(STYLE.path);
        link rel="icon" type="image/svg+xml" href=(ICON.path);
        meta http-equiv="refresh" content={ "0; url=" (to) };
    };
    let content = html! { h1 { "Session opened" } p { a href=(to) { "Continue to the playground" } } };
    document("Session opened", &links, &html! {}, &content)
}

/// One file that needs nothing else, for a pull request or an email.
pub fn self_contained(title: &str, content: &Markup) -> String {
    // A constant of this binary, and a test ensures that no style sheet contains `</style`.
    let links = html! {
        meta http-equiv="content-security-policy" content="default-src 'none'; style-src 'unsafe-inline'";
        style { (PreEscaped(STYLE.content)) }
    };
    document(title, &links, &html! {}, content)
}

fn document(title: &str, links: &Markup, navigation: &Markup, content: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · outrigger" }
                (links)
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.site { span.brand { "outrigger" } (navigation) }
                main #content tabindex="-1" { (content) }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_sheet_cannot_end_its_element() {
        assert!(!STYLE.content.contains("</"));
    }

    #[test]
    fn texts_are_escaped_wherever_they_stand() {
        let hostile = "\"'><script>alert(1)</script>&";
        let page = page(hostile, Section::Other, &html! { a href=(hostile) title=(hostile) { (hostile) } });
        assert!(!page.contains("<script>alert"), "{page}");
        assert_eq!(
            page.matches("&quot;'&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;").count(),
            4,
            "{page}"
        );
    }
}
