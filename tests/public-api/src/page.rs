//! What a page of rustdoc says.

/// The items that `all.html` lists: `records/struct.Record.html`.
pub(crate) fn links(index: &str) -> impl Iterator<Item = &str> {
    index
        .split("<li><a href=\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"').map(|(link, _)| link))
        .filter(|link| link.ends_with(".html"))
}

/// An item as text: its kind and path, then its declaration, and what is implemented for it.
pub(crate) fn item(link: &str, page: &str) -> Result<String, String> {
    let path = link.strip_suffix(".html").ok_or("no page of an item")?;
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (kind, name) = file.split_once('.').ok_or("no page of an item")?;
    let modules = if folder.is_empty() { String::new() } else { format!("{}::", folder.replace('/', "::")) };

    let mut lines: Vec<String> = declaration(page)?.lines().map(str::to_owned).collect();
    let mut implemented: Vec<String> = headers(page)
        .filter(|header| is_interface(kind, header))
        .map(|header| one_line(&text(header.code)))
        .collect();
    implemented.sort_unstable();
    implemented.dedup();
    lines.append(&mut implemented);
    let body: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    Ok(format!("{kind} {modules}{name}\n{body}"))
}

fn declaration(page: &str) -> Result<String, String> {
    const BEGIN: &str = "<pre class=\"rust item-decl\"><code>";
    let (_, rest) = page.split_once(BEGIN).ok_or("it has no declaration")?;
    let (code, _) = rest.split_once("</code></pre>").ok_or("its declaration does not end")?;
    // Long declarations are folded, with a summary such as "Show 18 variants".
    let mut unfolded = String::new();
    for (at, part) in code.split("<summary").enumerate() {
        unfolded.push_str(if at == 0 {
            part
        } else {
            part.split_once("</summary>").map_or("", |(_, shown)| shown)
        });
    }
    Ok(text(&unfolded.replace("</div>", "\n")).trim_end().to_owned())
}

/// The head of a method or an implementation.
struct Header<'a> {
    /// Which list of the page it is in.
    part: &'a str,
    /// What rustdoc calls it: `method`, `impl`, `method trait-impl`, ….
    class: &'a str,
    code: &'a str,
}

fn headers(page: &str) -> impl Iterator<Item = Header<'_>> {
    let mut part = "";
    page.split("<h2 id=\"").flat_map(move |rest| {
        part = rest.split_once('"').map_or(part, |(id, _)| id);
        let id = part;
        rest.split("<section id=\"").skip(1).filter_map(move |section| {
            let (_, class) = section.split_once("class=\"")?;
            let (class, rest) = class.split_once('"')?;
            let (_, code) = rest.split_once("class=\"code-header\">")?;
            let code = code.split_once("</h3>").or_else(|| code.split_once("</h4>"))?.0;
            let code = code.split_once("</h4>").map_or(code, |(code, _)| code);
            Some(Header { part: id, class, code })
        })
    })
}

/// Whether it is a part of the interface that the declaration does not show: a method, or a trait of ours or of the standard
/// library's. What every type has is none, nor are the methods of traits.
fn is_interface(kind: &str, header: &Header<'_>) -> bool {
    match (header.part, header.class) {
        // An auto trait that it has is worth a line only when it is missing.
        ("synthetic-implementations", _) => text(header.code).contains('!'),
        ("blanket-implementations", _) => false,
        (_, "impl") => text(header.code).contains(" for "),
        (_, "method" | "associatedconstant" | "associatedtype") => kind != "trait",
        _ => false,
    }
}

/// Without markup.
fn text(html: &str) -> String {
    let mut plain = String::new();
    for (at, part) in html.split('<').enumerate() {
        plain.push_str(if at == 0 { part } else { part.split_once('>').map_or("", |(_, text)| text) });
    }
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    entities.iter().fold(plain, |text, (entity, meant)| text.replace(entity, meant))
}

fn one_line(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(
        "<pre class=\"rust item-decl\"><code><div class=\"code-attributes\">#[non_exhaustive]</div>pub enum Kind {\n",
        "<details><summary class=\"hideme\"><span>Show 2 variants</span></summary>    A,\n    B(<a href=\"\">Vec</a>&lt;u8&gt;),\n",
        "</details>}</code></pre><h2 id=\"implementations\" class=\"x\">",
        "<section id=\"method.new\" class=\"method\"><h4 class=\"code-header\">pub fn <a>new</a>(\n    a: u8,\n) -&gt; Self</h4>",
        "<h2 id=\"trait-implementations\" class=\"x\">",
        "<section id=\"impl-Clone\" class=\"impl\"><h3 class=\"code-header\">impl Clone for Kind</h3>",
        "<section id=\"method.clone\" class=\"method trait-impl\"><h4 class=\"code-header\">fn clone(&amp;self)</h4>",
        "<h2 id=\"synthetic-implementations\" class=\"x\">",
        "<section id=\"impl-Send\" class=\"impl\"><h3 class=\"code-header\">impl Send for Kind</h3>",
        "<section id=\"impl-Sync\" class=\"impl\"><h3 class=\"code-header\">impl !Sync for Kind</h3>",
        "<h2 id=\"blanket-implementations\" class=\"x\">",
        "<section id=\"impl-Any\" class=\"impl\"><h3 class=\"code-header\">impl&lt;T&gt; Any for T</h3>",
    );

    #[test]
    fn a_page_is_its_declaration_its_methods_and_its_traits() {
        let lines = [
            "enum records::Kind",
            "    #[non_exhaustive]",
            "    pub enum Kind {",
            "        A,",
            "        B(Vec<u8>),",
            "    }",
            "    impl !Sync for Kind",
            "    impl Clone for Kind",
            "    pub fn new( a: u8, ) -> Self",
        ];
        let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(item("records/enum.Kind.html", PAGE), Ok(expected));
    }

    #[test]
    fn a_page_without_a_declaration_is_an_error() {
        assert!(item("enum.Kind.html", "<pre>").is_err());
    }

    #[test]
    fn the_index_lists_pages_and_its_own_sections() {
        let index =
            "<li><a href=\"#structs\">Structs</a></li><li><a href=\"admin/struct.Admin.html\">Admin</a></li>";
        assert_eq!(links(index).collect::<Vec<_>>(), ["admin/struct.Admin.html"]);
    }
}
