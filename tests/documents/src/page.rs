//! Reads a page of rustdoc.

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

/// The types and traits that an item's interface names, by the path where they are defined: `offtake_wire::error::DecodeError`.
pub(crate) fn names<'a>(link: &str, page: &'a str) -> Result<impl Iterator<Item = &'a str>, String> {
    let (_, file) = link.rsplit_once('/').unwrap_or(("", link));
    let (kind, _) = file.split_once('.').ok_or("no page of an item")?;
    let heads: Vec<_> = headers(page).filter(|header| is_interface(kind, header)).collect();
    let code = std::iter::once(declaration_html(page)?).chain(heads.into_iter().map(|header| header.code));
    // A link has the title "struct offtake_wire::Reader".
    let titles = code.flat_map(|code| code.split("title=\"").skip(1));
    Ok(titles.filter_map(|rest| rest.split_once('"')?.0.rsplit_once(' ')).map(|(_, path)| path))
}

/// The name of the item that a link leads to: `Consumer` of `consumer/struct.Consumer.html`.
pub(crate) fn name(link: &str) -> Option<&str> {
    let (_, file) = link.rsplit_once('/').unwrap_or(("", link));
    file.strip_suffix(".html")?.split_once('.').map(|(_, name)| name)
}

fn declaration(page: &str) -> Result<String, String> {
    let code = declaration_html(page)?;
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

fn declaration_html(page: &str) -> Result<&str, String> {
    const BEGIN: &str = "<pre class=\"rust item-decl\"><code>";
    let (_, rest) = page.split_once(BEGIN).ok_or("it has no declaration")?;
    let (code, _) = rest.split_once("</code></pre>").ok_or("its declaration does not end")?;
    Ok(code)
}

/// The head of a method or an implementation.
struct Header<'a> {
    /// Which list of the page it is in.
    part: &'a str,
    /// Rustdoc's class of it: `method`, `impl`, `method trait-impl`, ….
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

/// Whether it is a part of the interface that the declaration does not show: a method, or a trait of ours or of the
/// standard library's. Excluded are impls that every type has, and the methods of traits.
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
    fn the_names_of_a_page_are_those_of_its_interface() {
        let page = concat!(
            "<pre class=\"rust item-decl\"><code>pub struct A(<a class=\"struct\" title=\"struct b::c::D\">D</a>);</code></pre>",
            "<h2 id=\"implementations\" class=\"x\"><p><a title=\"struct only::Told\">Told</a></p>",
            "<section id=\"method.e\" class=\"method\"><h4 class=\"code-header\">pub fn e() -&gt; <a title=\"enum f::G\">G</a></h4>",
            "<h2 id=\"trait-implementations\" class=\"x\">",
            "<section id=\"impl-H\" class=\"impl\"><h3 class=\"code-header\">impl <a title=\"trait h::H\">H</a> for A</h3>",
            "<section id=\"method.i\" class=\"method trait-impl\"><h4 class=\"code-header\">fn i(<a title=\"struct j::J\">J</a>)</h4>",
        );
        let names: Vec<_> = names("struct.A.html", page).unwrap().collect();
        assert_eq!(names, ["b::c::D", "f::G", "h::H"]);
    }

    #[test]
    fn the_name_of_an_item_is_that_of_its_page() {
        assert_eq!(name("records/struct.Record.html"), Some("Record"));
        assert_eq!(name("enum.Error.html"), Some("Error"));
        assert_eq!(name("index.html"), None);
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
