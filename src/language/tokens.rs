//! What happens to tokens between rhai's lexer and its parser.
//!
//! Rhai lets a host replace tokens one by one, but not add any. That is enough for six things:
//!
//! - words that rhai reserves and does not use (`spawn`, `new`, `default`, …) become ordinary names;
//! - `global` and `from` at the head of a statement become our statements, and stay names elsewhere;
//! - names that `from … import … as …` renamed become the qualified native's;
//! - `catch (e) {` becomes `catch { BIND ; ;` and `with x as y {` becomes `with x { BIND ;`, where `BIND` is a
//!   statement of ours that declares the variable. Pushing the variable from the statement's implementation
//!   would shift the places that the parser gave to the variables around it;
//! - the marks of a `with` that is a loop of one round become the head of that loop ([`super::one_round`]);
//! - the names of methods that are called directly get their second names ([`super::direct`]).

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use rhai::Token;

use super::direct;
use super::one_round;

/// The keyword of the `global` statement inside the parser.
pub const GLOBAL: &str = "__global__";
/// The keyword of the `from … import` statement inside the parser.
pub const FROM: &str = "__from__";
/// The keyword of the statement that declares the variable of a `catch` or `with`.
pub const BIND: &str = "__bind__";

/// The name of our `print`: a function that is called `print` gets its result printed by rhai, with a newline.
pub const PRINT: &str = "builtins.print";

/// The operator that enters the manager of a `with` that is a loop, and the variable of that loop: no script can write
/// it, and no lexer takes it for one thing. Short, as the bytecode machine looks at every letter in every call.
pub const ENTER: &str = "@ ";

/// What the parser takes for the name of a function whose own name rhai reserves ends with this.
const RENAMED: &str = "__function";

/// Reserved by rhai for later, and ordinary names here.
const FREED: &[&str] = &[
    "use",
    "case",
    "async",
    "public",
    "package",
    "super",
    "var",
    "protected",
    "spawn",
    "shared",
    "is",
    "sync",
    "static",
    "default",
    "thread",
    "yield",
    "new",
    "match",
    "await",
    "null",
    "void",
    "nil",
    "go",
    "goto",
    "module",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Header {
    #[default]
    None,
    /// After `catch`.
    Catch,
    /// After `catch (`.
    CatchOpen,
    /// After `catch (e`.
    CatchName,
    /// After `catch (e)`.
    CatchClosed,
    /// Between `with` and its block, this many brackets deep.
    With(u32),
    /// After `with x as`.
    WithAs,
    /// After `with x as y`.
    WithName,
}

/// The state of one parse.
#[derive(Default)]
struct Parse {
    header: Header,
    /// The variable that the next `BIND` declares.
    bound: String,
    /// Is it between [`begin`] and [`end`]?
    is_open: bool,
    at_statement: bool,
    after_dot: bool,
    after_colons: bool,
    /// Between `fn` and the parameters: the name of a function comes.
    after_fn: bool,
    /// Was a function given another name than its own?
    any_renamed: bool,
    /// Names that were imported under another name.
    aliases: HashMap<String, String>,
    /// Every variable of a `catch` or `with`.
    all_bound: HashSet<String>,
    /// How many marks there were of the kind that is being read.
    marks: usize,
    /// What the names of methods that could be called directly are used for.
    uses: direct::Uses,
    /// Those that are to be called directly.
    direct: BTreeSet<&'static str>,
}

/// What a parse found out beside the syntax tree.
#[derive(Default)]
pub struct Names {
    /// Names that mean a qualified native, as imported.
    pub imported: HashMap<String, String>,
    /// The variables of `catch` and `with`.
    pub bound: HashSet<String>,
    /// Are there functions that [`own_name`] gives back their names?
    pub any_renamed: bool,
    /// Methods that can be called directly.
    pub direct: BTreeSet<&'static str>,
}

thread_local! {
    /// Boxed: every thread has room for what is thread-local, and few ever parse.
    static PARSE: RefCell<Box<Parse>> = RefCell::default();
}

/// Begins a parse; `aliases` are the names that were imported before, `direct` the methods to be called directly.
pub fn begin(aliases: HashMap<String, String>, direct: BTreeSet<&'static str>) {
    PARSE.set(Box::new(Parse { is_open: true, at_statement: true, aliases, direct, ..Parse::default() }));
}

/// Ends a parse; returns the names that are imported now, and those of the variables of `catch` and `with`.
pub fn end() -> Names {
    let parse = PARSE.take();
    Names {
        imported: parse.aliases,
        bound: parse.all_bound,
        any_renamed: parse.any_renamed,
        direct: parse.uses.only_called(),
    }
}

/// Is it a word that rhai reserves and that is an ordinary name here?
pub fn is_freed(word: &str) -> bool {
    FREED.contains(&word)
}

/// The name that the script gave to a function which the parser knows by another one.
pub fn own_name(parsed: &str) -> Option<&str> {
    parsed.strip_suffix(RENAMED).filter(|name| is_freed(name))
}

/// Makes a name mean a qualified native from here on.
pub fn import(alias: &str, qualified: String) {
    PARSE.with_borrow_mut(|parse| parse.aliases.insert(alias.to_string(), qualified));
}

/// The variable that the `BIND` statement just parsed declares.
pub fn bound_name() -> String {
    PARSE.with_borrow(|parse| parse.bound.clone())
}

/// The hook for rhai's parser.
pub fn replace(token: Token) -> Token {
    PARSE.with_borrow_mut(|parse| parse.replace(token))
}

/// The keyword of one of our statements. An identifier: the parser would take a custom token for an operator
/// when it follows a statement that ends with a block.
fn custom(keyword: &str) -> Token {
    Token::Identifier(Box::new(keyword.into()))
}

impl Parse {
    fn replace(&mut self, token: Token) -> Token {
        let token = match token {
            Token::Reserved(mark) if self.is_open && mark.chars().eq([one_round::LOOP]) => {
                let name = Token::Identifier(Box::new(ENTER.into()));
                self.mark([Token::For, name, Token::In])
            }
            Token::Reserved(mark) if self.is_open && mark.chars().eq([one_round::ENTER]) => {
                self.mark([Token::Unit, Token::Custom(Box::new(ENTER.into()))])
            }
            // What a module calls its own, as in `subprocess::call`, is nothing else.
            // Only as the name of a function that is being defined rhai takes none of them.
            Token::Reserved(word) if self.after_fn && is_freed(&word) => {
                self.any_renamed = true;
                Token::Identifier(Box::new(format!("{word}{RENAMED}").into()))
            }
            Token::Reserved(word) if self.after_colons || is_freed(&word) => Token::Identifier(word),
            Token::Reserved(word) if word.as_str() == "print" && !self.after_dot => {
                Token::Identifier(Box::new(PRINT.into()))
            }
            token => token,
        };
        let (at_statement, after_dot) = (self.at_statement, self.after_dot);
        let is_member = after_dot && !self.after_colons && !self.after_fn;
        if self.is_open {
            self.uses.note(&token, is_member);
        }
        self.at_statement =
            matches!(token, Token::SemiColon | Token::LeftBrace | Token::RightBrace | Token::EOF);
        // `fn name(…)`, `fn type.name(…)`
        self.after_fn = match token {
            Token::Fn => self.is_open,
            Token::Identifier(_) | Token::Period => self.after_fn,
            _ => false,
        };
        self.after_colons = token == Token::DoubleColon;
        self.after_dot = matches!(token, Token::Period | Token::Elvis | Token::DoubleColon);
        if let Some(replaced) = self.in_header(&token) {
            self.at_statement = matches!(replaced, Token::SemiColon | Token::LeftBrace);
            return replaced;
        }
        match &token {
            Token::Identifier(name) if at_statement && name.as_str() == "global" => custom(GLOBAL),
            Token::Identifier(name) if at_statement && name.as_str() == "from" => custom(FROM),
            Token::Identifier(name) if is_member && self.direct.contains(name.as_str()) => {
                direct::second_name(name).map_or(token, |name| Token::Identifier(Box::new(name.into())))
            }
            Token::Identifier(name) if !after_dot => match self.aliases.get(name.as_str()) {
                Some(qualified) => Token::Identifier(Box::new(qualified.as_str().into())),
                None => token,
            },
            _ => token,
        }
    }

    /// The token that the next mark of a kind stands for; all marks of one kind follow each other.
    fn mark<const COUNT: usize>(&mut self, tokens: [Token; COUNT]) -> Token {
        let token = tokens[self.marks].clone();
        self.marks = (self.marks + 1) % COUNT;
        token
    }

    /// Follows the header of a `catch` or a `with`; the replacement, if the token gets one.
    fn in_header(&mut self, token: &Token) -> Option<Token> {
        let word = match token {
            Token::Custom(word) | Token::Reserved(word) | Token::Identifier(word) => word.as_str(),
            Token::As => "as",
            _ => "",
        };
        let (next, replaced) = match (self.header, token) {
            (Header::None, _) if word == "catch" => (Header::Catch, None),
            (Header::None, Token::Reserved(_) | Token::Custom(_)) if word == "with" => {
                (Header::With(0), None)
            }
            (Header::Catch, Token::LeftParen) => (Header::CatchOpen, Some(Token::LeftBrace)),
            (Header::CatchOpen, Token::Identifier(name)) => {
                self.bound = name.to_string();
                self.all_bound.insert(name.to_string());
                (Header::CatchName, Some(custom(BIND)))
            }
            (Header::CatchName, Token::RightParen) => (Header::CatchClosed, Some(Token::SemiColon)),
            (Header::CatchClosed, Token::LeftBrace) => (Header::None, Some(Token::SemiColon)),
            (Header::With(0), _) if word == "as" => (Header::WithAs, Some(Token::LeftBrace)),
            (Header::With(0), Token::LeftBrace) => (Header::None, None),
            (
                Header::With(depth),
                Token::LeftParen | Token::LeftBracket | Token::LeftBrace | Token::MapStart,
            ) => (Header::With(depth + 1), None),
            (Header::With(depth), Token::RightParen | Token::RightBracket | Token::RightBrace) => {
                (Header::With(depth.saturating_sub(1)), None)
            }
            (header @ Header::With(_), _) => (header, None),
            (Header::WithAs, Token::Identifier(name)) => {
                self.bound = name.to_string();
                self.all_bound.insert(name.to_string());
                (Header::WithName, Some(custom(BIND)))
            }
            (Header::WithName, Token::LeftBrace) => (Header::None, Some(Token::SemiColon)),
            _ => (Header::None, None),
        };
        self.header = next;
        replaced
    }
}
