//! A terminal session, as a page shows it: each command after a `$`, and its output below.

/// The commands of a session, each with its output.
///
/// # Panics
/// When the session does not begin with a command.
pub fn commands(session: &str) -> Vec<(&str, String)> {
    let mut commands = Vec::<(&str, String)>::new();
    for line in session.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push((command, String::new())),
            None => {
                let (_, said) = commands.last_mut().expect("a session begins with a command");
                *said += &format!("{line}\n");
            }
        }
    }
    commands
}

/// Whether a command with this output ends with a status other than 0.
pub fn fails(said: &str) -> bool {
    said.lines().any(|line| {
        line.contains("error: ") || line.starts_with("Received disconnect") || line.starts_with("fail ")
    })
}

/// Whether the output is as a page shows it: `…` stands for anything, spaces and figures with their units may differ.
/// When `…` is the last line, other lines may come between, for two programs may write at once.
pub fn shows(shown: &str, said: &str) -> bool {
    let (shown, said) = (gist(shown), gist(said));
    let (shown, said): (Vec<_>, Vec<_>) = (shown.lines().collect(), said.lines().collect());
    match shown.split_last() {
        Some((&"…", shown)) => shown.iter().all(|shown| said.iter().any(|said| is(shown, said))),
        _ => shown.len() == said.len() && shown.iter().zip(&said).all(|(shown, said)| is(shown, said)),
    }
}

/// Whether a line is as the page shows it.
fn is(shown: &str, said: &str) -> bool {
    let Some((first, more)) = shown.split_once('…') else { return shown == said };
    let (between, last) = more.rsplit_once('…').unwrap_or(("", more));
    let middle = said.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    middle.is_some_and(|middle| has_in_order(middle, between.split('…')))
}

/// Whether a text has all the parts, in this order.
pub fn has_in_order<'a>(text: &str, mut parts: impl Iterator<Item = &'a str>) -> bool {
    parts.try_fold(text, |rest, part| Some(rest.split_once(part)?.1)).is_some()
}

/// Lines without their spaces, with 0 for each figure, and units that depend on it brought to one.
fn gist(text: &str) -> String {
    let lines: Vec<_> =
        text.trim().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let (mut gist, mut before, mut in_figure) = (String::new(), ' ', false);
    for c in lines.join("\n").chars() {
        // A digit in a word, as in gw-07, is not a figure.
        let begins = !in_figure && c.is_ascii_digit() && !(before.is_alphanumeric() || before == '-');
        in_figure = begins || in_figure && (c.is_ascii_digit() || c == '.');
        match (begins, in_figure) {
            (true, _) => gist.push('0'),
            (false, true) => {}
            (false, false) => gist.push(c),
        }
        before = c;
    }
    ["kbit/s", "Mbit/s", "Gbit/s"].iter().fold(gist, |gist, unit| gist.replace(unit, "bit/s"))
}

#[test]
fn session_output_is_compared_without_its_figures() {
    let shown = "pass  dns   3.1 ms  gw-07\n3 sent: 20.5 Mbit/s (id …)\n";
    assert!(shows(shown, "pass  dns              12 ms  gw-07\n12 sent: 1.05 Gbit/s (id 1a2b, 3)"));
    for other in [
        "fail  dns 3.1 ms gw-07\n3 sent: 20.5 Mbit/s (id 1)",
        "pass dns 3.1 ms gw-08\n3 sent: 20.5 Mbit/s (id 1)",
    ] {
        assert!(!shows(shown, other), "{other}");
    }
    assert!(!shows(shown, &format!("{shown}more")) && !shows(shown, ""));
    assert!(
        shows("a\nb …\n…", "b c\nd\na") && shows("a\n…", "a") && !shows("a\n…", "b") && !shows("a …", "b a")
    );
    assert!(shows("a … c … e", "a b c d e") && !shows("a … c … e", "a b d e") && !shows("a", "a\nb"));
    assert!(fails("x: error: y\n") && fails("fail  dns\n") && !fails("pass  dns\n"));
}
