//! Links, images and blocks of code of a Markdown text, each found in one pass.

/// A label or an address longer than these is no link to repeat, in bytes.
const LONGEST_LABEL: usize = 512;
const LONGEST: usize = 2048;
/// Links are looked for this far into a text.
const FAR: usize = 256 * 1024;

/// A link or an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// As it stands in the text, ready to be repeated.
    pub whole: &'a str,
    pub target: &'a str,
}

/// Markdown links and images and bare web addresses, in order; what stands in code is not looked at.
///
/// Each place is looked at a bounded number of times, so the time is linear in the text's length, up to an end.
pub fn links(text: &str) -> Vec<Link<'_>> {
    let text = head(text, FAR);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(offset) = rest.find(['[', 'h', '`']) else {
            break;
        };
        let start = at + offset;
        let from = text.get(start..).unwrap_or_default();
        at = start
            + match from.as_bytes().first() {
                Some(b'`') => code(from),
                Some(b'[') => {
                    let image = usize::from(
                        text.get(..start)
                            .is_some_and(|before| before.ends_with('!')),
                    );
                    match markdown(from) {
                        Some((length, target)) => {
                            let whole = text.get(start - image..start + length).unwrap_or_default();
                            found.push(Link { whole, target });
                            length
                        }
                        None => 1,
                    }
                }
                _ if from.starts_with("http://") || from.starts_with("https://") => {
                    let (length, target) = bare(from);
                    found.push(Link {
                        whole: target,
                        target,
                    });
                    length
                }
                _ => 1,
            };
    }
    found
}

/// A block of code between fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// As it stands in the text, ready to be repeated.
    pub whole: &'a str,
    pub body: &'a str,
}

/// The blocks of code whose fences name a language, in order. JSON is no code: a summary tells what it says.
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let text = head(text, FAR);
    let mut found = Vec::new();
    // Where the fence is, where its body begins, how many ticks it has, and whether it names a language.
    let mut open: Option<(usize, usize, usize, bool)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (begins, trimmed) = (at, line.trim());
        at += line.len();
        let named = trimmed.trim_start_matches('`');
        let ticks = trimmed.len() - named.len();
        match open {
            None if ticks >= 3 && !named.contains('`') => {
                let code = named.starts_with(char::is_alphabetic);
                let code = code && !named.eq_ignore_ascii_case("json");
                open = Some((begins, at, ticks, code));
            }
            Some((start, body, fence, code)) if ticks >= fence && named.is_empty() => {
                let whole = text.get(start..at).unwrap_or_default().trim();
                let body = text.get(body..begins).unwrap_or_default();
                found.extend(code.then_some(Block { whole, body }));
                open = None;
            }
            _ => {}
        }
    }
    found
}

/// The length of a code span or fence at the start of a text; of the ticks alone if it never closes nearby.
fn code(text: &str) -> usize {
    let ticks = text.len() - text.trim_start_matches('`').len();
    let (fence, after) = text.split_at(ticks);
    // A span is short; a fence may be long, and an open one hides the rest of the text, as in any renderer.
    let window = if ticks >= 3 {
        after
    } else {
        head(after, LONGEST)
    };
    match window.find(fence) {
        Some(end) => ticks + end + ticks,
        None if ticks >= 3 => text.len(),
        None => ticks,
    }
}

/// Length and target of `[label](target "title")` at the start of a text. Brackets within may nest.
fn markdown(text: &str) -> Option<(usize, &str)> {
    let label = closing(head(text, LONGEST_LABEL), b'[', b']')?;
    let parenthesis = head(text.get(label + 1..)?, LONGEST);
    let end = closing(parenthesis, b'(', b')')?;
    let inside = parenthesis.get(1..end)?;
    let target = inside.split_whitespace().next()?;
    let target = target.trim_start_matches('<').trim_end_matches('>');
    (!target.is_empty()).then_some((label + 1 + end + 1, target))
}

/// Where the bracket that a text begins with is closed.
fn closing(text: &str, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        if byte == open {
            depth += 1;
        } else if byte == close {
            depth = depth.checked_sub(1)?;
        }
        if depth == 0 {
            return (at > 0).then_some(at);
        }
    }
    None
}

/// Length and address of a bare link; punctuation that ends a sentence is not part of it.
fn bare(text: &str) -> (usize, &str) {
    let window = head(text, LONGEST);
    let end = window
        .find(|letter: char| letter.is_whitespace() || "<>\"'`|\\^{}[]".contains(letter))
        .unwrap_or(window.len());
    let mut target = window.get(..end).unwrap_or_default();
    loop {
        let trimmed = target.trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_']);
        // A closing parenthesis belongs to the address only with its opening one.
        let unbalanced =
            trimmed.ends_with(')') && trimmed.matches(')').count() > trimmed.matches('(').count();
        let next = if unbalanced {
            trimmed.trim_end_matches(')')
        } else {
            trimmed
        };
        if next.len() == target.len() {
            return (end.max(1), target);
        }
        target = next;
    }
}

/// The beginning of a text, cut between characters.
fn head(text: &str, length: usize) -> &str {
    text.get(..text.floor_char_boundary(length)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wholes(text: &str) -> Vec<&str> {
        links(text).iter().map(|link| link.whole).collect()
    }

    #[test]
    fn links_and_images_are_found_as_they_stand() {
        let check = |text: &str, expected: &[&str]| assert_eq!(wholes(text), expected, "{text:?}");
        check("plain [not a link] text (here) hello", &[]);
        check(
            "see ![image](files/b/cat.png)!",
            &["![image](files/b/cat.png)"],
        );
        check(
            "[a](https://x.example/y \"t\") b",
            &["[a](https://x.example/y \"t\")"],
        );
        check(
            "[w](https://x.example/X_(y)) b",
            &["[w](https://x.example/X_(y))"],
        );
        check(
            "[![i](a.png)](https://b.example)",
            &["[![i](a.png)](https://b.example)"],
        );
        check(
            "see https://x.example/a. Then (https://y.example/b).",
            &["https://x.example/a", "https://y.example/b"],
        );
        check("https://x.example/A_(b)", &["https://x.example/A_(b)"]);
        check("**https://x.example**", &["https://x.example"]);
        check("`arr[i](x)` and ```\n[a](b)\n``` [c](d)", &["[c](d)"]);
        check("open ``` [a](b)", &[]);
        check("one ` tick [a](b)", &["[a](b)"]);
        check("[broken](no end", &[]);
        check("he said hi [", &[]);
    }

    #[test]
    fn blocks_of_code_are_found_as_they_stand() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let found = blocks(text);
            let found: Vec<_> = found
                .iter()
                .map(|block| (block.whole, block.body))
                .collect();
            assert_eq!(found, expected, "{text:?}");
        };
        let python = "```python\nprint(1)\n```";
        check(
            &format!("So:\n\n{python}\n\nDone."),
            &[(python, "print(1)\n")],
        );
        check("```\nplain\n```", &[]);
        check("```json\n{}\n```", &[]);
        check("a ```rust\nb\n```", &[]);
        check("```rust\nnever closed", &[]);
        let nested = "````md\n```rust\nx\n```\n````";
        check(nested, &[(nested, "```rust\nx\n```\n")]);
        check(
            "```rust``` is inline\n```sql\nx\n```",
            &[("```sql\nx\n```", "x\n")],
        );
    }

    #[test]
    fn titles_and_angle_brackets_are_not_part_of_the_target() {
        let target = |text| links(text).first().map(|link| link.target);
        assert_eq!(
            target("[a](https://x.example \"t\")"),
            Some("https://x.example")
        );
        assert_eq!(target("[a](<files/b c>)"), Some("files/b"));
        assert_eq!(target("[a]()"), None);
    }

    #[test]
    fn a_hostile_text_is_read_in_linear_time() {
        // Quadratic, these would take minutes.
        for unit in ["[", "(", "`", "[](", "h", "http://", "](", "[a](b"] {
            let _ = links(&unit.repeat(1_000_000 / unit.len()));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_searched_without_harm(text in "[\\[\\]()!h:/`. a\u{2600}\n]{0,80}") {
            for link in links(&text) {
                proptest::prop_assert!(text.contains(link.whole) && link.whole.contains(link.target));
            }
        }
    }
}
