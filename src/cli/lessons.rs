//! `onelock lessons`: the lessons travel inside the program; they are listed by chapter, shown, and run.

use clap::Args;
use include_dir::{Dir, include_dir};

use super::nearest::nearest;
use super::run::Program;
use super::{Options, complain, print};

static LESSONS: Dir = include_dir!("$CARGO_MANIFEST_DIR/scripts/lessons");

/// List the lessons, or run one
#[derive(Args)]
pub(super) struct Lessons {
    /// A lesson's number or a part of its name, which runs it; or a chapter, which lists it
    #[arg(value_name = "NUMBER|NAME|CHAPTER")]
    which: Option<String>,
    /// Show the lesson's text before it runs
    #[arg(long)]
    show: bool,
}

/// A script with what its header says of it.
struct Lesson {
    /// `028_thread_lost_update`.
    name: &'static str,
    /// `02-locks`.
    chapter: &'static str,
    source: &'static str,
}

impl Lesson {
    /// What the header line `//@ key: …` says.
    fn header(&self, key: &str) -> &'static str {
        let lines = self.source.lines().filter_map(|line| line.strip_prefix("//@ "));
        let mut values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        values.next().map_or("", str::trim)
    }

    /// `028`, as the header or else the file's name says.
    fn number(&self) -> &'static str {
        let digits = self.name.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.name.len());
        Some(self.header("number")).filter(|number| !number.is_empty()).unwrap_or(&self.name[..digits])
    }

    /// The text without its header.
    fn body(&self) -> String {
        let lines = self.source.lines().skip_while(|line| line.starts_with("//@") || line.starts_with("//|"));
        lines.collect::<Vec<_>>().join("\n").trim_matches('\n').to_string()
    }
}

/// What the argument names.
enum Choice<'a> {
    One(&'a Lesson),
    Several(Vec<&'a Lesson>),
    None,
}

impl Lessons {
    pub(super) fn run(&self, options: &Options) -> i32 {
        let lessons = all();
        let Some(which) = &self.which else {
            print(&list(&lessons.iter().collect::<Vec<_>>()));
            return 0;
        };
        match choose(&lessons, which) {
            Choice::One(lesson) => self.run_one(lesson, options),
            Choice::Several(several) => {
                print(&list(&several));
                0
            }
            Choice::None => {
                let names = lessons
                    .iter()
                    .flat_map(|l| [l.number(), l.chapter, topic(l.chapter), topic(l.name), l.name]);
                let meant = nearest(which, names).map_or("`onelock lessons` lists them".into(), |name| {
                    format!("did you mean '{name}'? (`onelock lessons` lists them)")
                });
                complain(&format!("no lesson or chapter '{which}': {meant}"))
            }
        }
    }

    fn run_one(&self, lesson: &Lesson, options: &Options) -> i32 {
        if self.show {
            print(&format!(
                "{}\n{}\n\n{}\n\n{}\n",
                lesson.header("title"),
                lesson.header("shows"),
                lesson.body(),
                "─".repeat(40)
            ));
        }
        let name = format!("lessons/{}/{}.rhai", lesson.chapter, lesson.name);
        Program::new(&name, lesson.source, vec![name.clone()]).run(options)
    }
}

/// Every lesson, by chapter and number.
fn all() -> Vec<Lesson> {
    let mut lessons = Vec::new();
    for chapter in LESSONS.dirs() {
        let folder = chapter.path().to_str().unwrap_or_default();
        for file in chapter.files().filter(|file| file.path().extension().is_some_and(|e| e == "rhai")) {
            let name = file.path().file_stem().and_then(|name| name.to_str());
            if let (Some(name), Some(source)) = (name, file.contents_utf8()) {
                lessons.push(Lesson { name, chapter: folder, source });
            }
        }
    }
    lessons.sort_by_key(|lesson| (lesson.chapter, lesson.name));
    lessons
}

/// A name without the number before it: `threads` of `01-threads`.
fn topic(name: &str) -> &str {
    name.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['-', '_'])
}

fn choose<'a>(lessons: &'a [Lesson], which: &str) -> Choice<'a> {
    let with = |test: &dyn Fn(&Lesson) -> bool| lessons.iter().filter(|l| test(l)).collect::<Vec<_>>();
    if let Ok(number) = which.parse::<u32>() {
        return pick(with(&|l| l.number().parse() == Ok(number)));
    }
    let chapter = with(&|l| l.chapter == which || topic(l.chapter) == which);
    if !chapter.is_empty() {
        return Choice::Several(chapter);
    }
    let which = which.strip_suffix(".rhai").unwrap_or(which);
    let exact = with(&|l| l.name == which || topic(l.name) == which);
    if !exact.is_empty() {
        return pick(exact);
    }
    pick(with(&|l| l.name.contains(which)))
}

fn pick(mut lessons: Vec<&Lesson>) -> Choice<'_> {
    match lessons.len() {
        0 => Choice::None,
        1 => Choice::One(lessons.remove(0)),
        _ => Choice::Several(lessons),
    }
}

/// Number, title and what it shows, under the chapters' names.
fn list(lessons: &[&Lesson]) -> String {
    let width = lessons.iter().map(|lesson| lesson.number().len()).max().unwrap_or(0);
    let mut text = String::new();
    let mut chapter = "";
    for (at, lesson) in lessons.iter().enumerate() {
        if lesson.chapter != chapter {
            chapter = lesson.chapter;
            text.push_str(&format!("{}{chapter}\n", if at > 0 { "\n" } else { "" }));
        }
        // Two that share a number are told apart by their names.
        let shared = lessons.iter().filter(|other| other.number() == lesson.number()).count() > 1;
        let name = if shared { format!(" [{}]", lesson.name) } else { String::new() };
        text.push_str(&format!("  {:width$}  {}{name}\n", lesson.number(), lesson.header("title")));
        if !lesson.header("shows").is_empty() {
            text.push_str(&format!("  {:width$}  {}\n", "", lesson.header("shows")));
        }
    }
    text
}
