//! What is compared: the pairs of scripts found in the folder, and the bare commands.
//!
//! A `.rhai` file may say in the comment at its head how it wants to be run:
//!
//! ```text
//! // gil: ticks interval off     once per GIL mode, a row each (default: interval)
//! // engine: grain ast           once per evaluator (default: the interpreter's own choice)
//! // also: wall cpu rss          rows for these beside what the script measures itself
//! ```

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Options;

/// One thing that both sides do, or that onelock does in several modes.
pub struct Case {
    /// `group/name`, which the filters of the command line look at.
    pub name: String,
    /// CPython's side; without it the variants are compared with the first of them.
    pub python: Option<Run>,
    pub variants: Vec<Variant>,
    pub also: Vec<Also>,
    /// How often a round runs each side; the median of these counts.
    pub repeat: usize,
}

impl Case {
    pub fn group(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// onelock's side in one of its modes.
pub struct Variant {
    pub label: String,
    pub run: Run,
}

pub struct Run {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

/// What is measured from outside, beside the lines that a script prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Also {
    Wall,
    Cpu,
    Rss,
}

/// Everything that the filters let through, sorted by group and name; the commands come first.
pub fn find(folder: &Path, options: &Options) -> io::Result<Vec<Case>> {
    let mut cases = commands(options);
    for group in sorted(folder)?.into_iter().filter(|path| path.is_dir()) {
        for script in sorted(&group)? {
            if script.extension().is_some_and(|extension| extension == "rhai") {
                cases.push(pair(&script, options)?);
            }
        }
    }
    let filters = &options.filters;
    cases.retain(|case| filters.is_empty() || filters.iter().any(|f| case.name.contains(f.as_str())));
    Ok(cases)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn pair(script: &Path, options: &Options) -> io::Result<Case> {
    let header = Header::parse(&fs::read_to_string(script)?)
        .map_err(|message| io::Error::other(format!("{}: {message}", script.display())))?;
    let python = script.with_extension("py");
    let mut variants = Vec::new();
    for gil in options.gil.as_ref().unwrap_or(&header.gil) {
        // An empty name stands for the evaluator that onelock takes by itself.
        for engine in &header.engine {
            let mut args: Vec<OsString> = vec!["--gil".into(), gil.into()];
            if !engine.is_empty() {
                args.extend(["--engine".into(), engine.into()]);
            }
            args.push(script.into());
            variants.push(Variant {
                label: format!("{gil} {engine}").trim_end().into(),
                run: Run { program: options.onelock.clone(), args },
            });
        }
    }
    Ok(Case {
        name: format!("{}/{}", stem(script.parent().unwrap_or(script)), stem(script)),
        python: python
            .is_file()
            .then(|| Run { program: (&options.python).into(), args: vec![python.into()] }),
        variants,
        also: header.also,
        repeat: 1,
    })
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// From nothing to an answer and back: what every short script pays first.
fn commands(options: &Options) -> Vec<Case> {
    const MODULES: &str =
        "import threading, queue, multiprocessing, concurrent.futures, socket, json, random";
    [("start/empty_program", "1"), ("start/with_every_module", MODULES)]
        .map(|(name, python)| Case {
            name: name.into(),
            python: Some(Run { program: (&options.python).into(), args: vec!["-c".into(), python.into()] }),
            variants: vec![Variant {
                label: "interval".into(),
                run: Run { program: options.onelock.clone(), args: vec!["-e".into(), "1".into()] },
            }],
            also: vec![Also::Rss],
            repeat: 15,
        })
        .into()
}

/// The wishes in the comment at the head of a script.
struct Header {
    gil: Vec<String>,
    engine: Vec<String>,
    also: Vec<Also>,
}

impl Header {
    fn parse(source: &str) -> Result<Self, String> {
        let mut header =
            Header { gil: vec!["interval".into()], engine: vec![String::new()], also: Vec::new() };
        for line in source.lines().map_while(|line| line.strip_prefix("//")) {
            let Some((key, words)) = line.split_once(':') else { continue };
            let words = words.split_whitespace();
            match key.trim() {
                "gil" => header.gil = words.map(String::from).collect(),
                "engine" => header.engine = words.map(String::from).collect(),
                "also" => header.also = words.map(also).collect::<Result<_, _>>()?,
                _ => {}
            }
        }
        if header.gil.is_empty() || header.engine.is_empty() {
            return Err("a mode must follow `gil:` and `engine:`".into());
        }
        Ok(header)
    }
}

fn also(word: &str) -> Result<Also, String> {
    match word {
        "wall" => Ok(Also::Wall),
        "cpu" => Ok(Also::Cpu),
        "rss" => Ok(Also::Rss),
        _ => Err(format!("also: {word}? It knows wall, cpu and rss")),
    }
}
