//! The committed completion scripts, and what bash, zsh and fish complete with them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Sandbox, finish, iotstream, set_mode};

const FILES: [(&str, &str); 5] = [
    ("bash", "iotstream.bash"),
    ("elvish", "iotstream.elv"),
    ("fish", "iotstream.fish"),
    ("powershell", "iotstream.ps1"),
    ("zsh", "_iotstream"),
];

fn loader(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(file)
}

/// A home with the program in PATH, and a profile with an alias.
struct Home(Sandbox);

impl Home {
    fn new() -> Self {
        let home = Sandbox::new();
        fs::create_dir_all(home.path(".config/iotstream")).unwrap();
        let text = "[profile.factory]\nconnection-string = \"x\"\nhosts = [\"*.factory\"]\n\
                    [profile.factory.ports]\n502 = \"plc\"\n[profile.factory.devices]\ngw-press = \"Line(3),Press\"\n[profile.farm]\nconnection-string = \"x\"\n";
        home.write(".config/iotstream/profiles.toml", text);
        let state = home.path(".local/state/iotstream");
        fs::create_dir_all(state.join("reports")).unwrap();
        for directory in [&state, &state.join("reports")] {
            set_mode(directory, 0o700);
        }
        for (device, streams) in
            [("Line(3),Press", ["ssh", "plc"]), ("gw-07/iotstream", ["tcp-8080", "tcp-*"])]
        {
            let streams = streams.map(|name| format!(r#"{{"name":"{name}","keys":[]}}"#)).join(",");
            let copy = format!(
                r#"{{"fetched":1,"report":{{"device":"{device}","agent":null,"streams":[{streams}]}}}}"#
            );
            home.write(&format!(".local/state/iotstream/reports/{}.json", streams.len()), copy);
        }
        Self(home)
    }

    /// Runs a shell without start-up files.
    fn shell(&self, program: &str, arguments: &[&str]) -> String {
        let binary = Path::new(iotstream());
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", binary.parent().unwrap().display());
        let mut shell = self.0.command(program);
        shell.args(arguments).env_clear().env("HOME", self.0.path("")).env("PATH", path).env("TERM", "xterm");
        finish(&mut shell).succeeded().text().to_owned()
    }
}

/// Lines, and a word that each must complete to.
const CASES: [(&str, &str); 7] = [
    ("iotstream ", "emulator"),
    ("iotstream --profile f", "factory"),
    ("iotstream gw", "gw-press.factory"),
    ("iotstream gw-press.factory --stream p", "plc"),
    ("iotstream check gw-07.factory 8", "8080"),
    ("iotstream connect gw-press.factory 5", "502"),
    ("iotstream --stream t", "tcp-8080"),
];

#[test]
fn the_committed_completion_scripts_are_current() {
    for (shell, file) in FILES {
        let printed = Home::new().shell(iotstream(), &["completions", shell]);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(loader(file), &printed).expect("the loader can be written");
        }
        let committed = fs::read_to_string(loader(file)).unwrap_or_default();
        assert!(committed == printed, "{file} is stale: run UPDATE=1 cargo test --test all completions");
    }
}

#[test]
fn bash_completes() {
    for (line, word) in CASES {
        let script = format!(
            "source '{}'; line='{line}'; read -ra COMP_WORDS <<< \"$line\"; [[ $line == *' ' ]] && COMP_WORDS+=(''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE=$line; COMP_POINT=${{#line}}; COMP_TYPE=9; \
             spec=$(complete -p iotstream); function=${{spec#* -F }}; ${{function%% *}} iotstream \
             \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\" 2>/dev/null; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            loader("iotstream.bash").display()
        );
        let completed = Home::new().shell("bash", &["--norc", "-c", &script]);
        assert!(completed.lines().any(|found| found.trim() == word), "{line}: {completed}");
    }
}

#[test]
fn fish_completes() {
    for (line, word) in CASES {
        let script = format!("source '{}'; complete -C '{line}'", loader("iotstream.fish").display());
        let completed = Home::new().shell("fish", &["--no-config", "-c", &script]);
        assert!(completed.lines().any(|found| found.split('\t').next() == Some(word)), "{line}: {completed}");
    }
}

/// What zsh completes in `line` after it has run `loads`, when it runs `asks`.
fn zsh(line: &str, loads: &str, asks: &str) -> String {
    // A completer passes its words to _describe, which prints them here.
    let script = format!(
        "autoload -Uz compinit && compinit -D -u; compdef() {{ :; }}; {loads}; \
         _describe() {{ print -l -- ${{(P)@[-1]}}; }}; line='{line}'; words=(${{(z)line}}); \
         [[ $line == *' ' ]] && words+=(''); CURRENT=$#words; {asks}"
    );
    Home::new().shell("zsh", &["-f", "-c", &script])
}

fn assert_zsh_completes(word: &str, completed: &str) {
    let first = |found: &str| found.split(':').next().map(str::to_owned);
    assert!(completed.lines().any(|found| first(found).as_deref() == Some(word)), "{word}: {completed}");
}

#[test]
fn zsh_completes() {
    let sourced = format!("source '{}'", loader("_iotstream").display());
    for (line, word) in CASES {
        assert_zsh_completes(word, &zsh(line, &sourced, "_clap_dynamic_completer_iotstream"));
    }
}

#[test]
fn zsh_completes_at_the_first_tab_from_its_fpath() {
    let found = format!("fpath=('{}' $fpath); autoload -Uz _iotstream", loader("").display());
    for (line, word) in CASES {
        // zsh sets compstate while it completes.
        assert_zsh_completes(word, &zsh(line, &found, "typeset -A compstate; _iotstream"));
    }
}

#[test]
fn only_the_streams_of_the_named_device_are_completed() {
    let completed = |words: &[&str]| {
        let home = Home::new();
        let mut program = home.0.iotstream();
        program.env("IOTSTREAM_COMPLETE", "fish").args(["--", "iotstream"]).args(words);
        let done = finish(&mut program).succeeded();
        done.text().lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(completed(&["gw-press.factory", "--stream", ""]), ["plc", "ssh"]);
    assert_eq!(completed(&["--profile", "factory", "gw-07", "--stream", ""]), ["tcp-8080"]);
    assert_eq!(completed(&["unknown", "--stream", ""]), ["plc", "ssh", "tcp-8080"]);
    let ports = completed(&["connect", "gw-press.factory", ""]);
    assert!(ports.contains(&"22".into()) && ports.contains(&"502".into()), "{ports:?}");
    assert!(!ports.contains(&"8080".into()), "{ports:?}");
}

/// The program runs at TAB, and not when a shell starts.
#[test]
fn no_completion_script_runs_the_program_when_a_shell_starts() {
    for (shell, file, arguments, asks) in [
        (
            "bash",
            "iotstream.bash",
            "--norc",
            "COMP_WORDS=(iotstream ''); COMP_CWORD=1; _clap_complete_iotstream iotstream '' iotstream",
        ),
        ("fish", "iotstream.fish", "--no-config", "complete -C 'iotstream '"),
        ("zsh", "_iotstream", "-f", "words=(iotstream ''); CURRENT=2; _clap_dynamic_completer_iotstream"),
    ] {
        let home = Home::new();
        let (bin, ran) = (home.0.path("bin"), home.0.path("ran"));
        fs::create_dir(&bin).unwrap();
        home.0.write_script("bin/iotstream", &format!(": > '{}'", ran.display()));
        let begin = if shell == "zsh" { "autoload -Uz compinit && compinit -D -u; " } else { "" };
        let begin = format!(
            "{begin}export PATH='{}':/usr/bin:/bin; source '{}'",
            bin.display(),
            loader(file).display()
        );
        home.shell(shell, &[arguments, "-c", &begin]);
        assert!(!ran.exists(), "{shell} has run the program");
        home.shell(shell, &[arguments, "-c", &format!("{begin}; {asks}; true")]);
        assert!(ran.exists(), "{shell} would run the program at TAB");
    }
}
