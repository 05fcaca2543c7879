//! Builds a template's tree from its tokens, like Go's `text/template/parse`: same grammar, same error messages.

use std::collections::BTreeMap;

use super::ast::{Branch, Node, Pipe, Range, Span, Tree, VariableId};
use super::error::{Location, ParseError};
use super::format::quote;
use super::funcs::FunctionTable;
use super::lex::{Kind, Lexed, Token};

mod literal;
mod pipeline;

/// The maximum nesting of parentheses and control structures; the stack is finite, and real templates stay far below.
pub(super) const NESTING: usize = 100;

/// A parsed source.
#[derive(Debug)]
pub(super) struct Parsed {
    /// All bodies; `main` is an index into them.
    pub(super) trees: Vec<Tree>,
    pub(super) main: usize,
    /// Names of variables by ID.
    pub(super) variables: Vec<String>,
}

/// Parses a whole source.
pub(super) fn parse(name: &str, source: &str, functions: &FunctionTable) -> Result<Parsed, ParseError> {
    let Lexed { tokens, problem } = super::lex::lex(source);
    let mut parser = Parser {
        name,
        source,
        functions,
        tokens,
        problem,
        next: 0,
        furthest: 0,
        names: vec!["$".to_owned()],
        scope: vec![0],
        trees: BTreeMap::new(),
        range_depth: 0,
        nesting: 0,
        action_line: 0,
    };
    match parser.main() {
        Ok(()) => Ok(resolve(name, parser.trees, parser.names)),
        Err(message) => {
            let at = parser.span_of(parser.furthest);
            Err(ParseError { at: Location::new(name, source, at), message })
        }
    }
}

/// Collects the trees in a list and links every `template` action to its tree.
fn resolve(name: &str, trees: BTreeMap<String, Vec<Node>>, variables: Vec<String>) -> Parsed {
    let mut trees: Vec<Tree> = trees.into_iter().map(|(name, body)| Tree { name, body }).collect();
    let names: Vec<String> = trees.iter().map(|tree| tree.name.clone()).collect();
    for tree in &mut trees {
        point(&mut tree.body, &names);
    }
    let main = names.iter().position(|known| known == name).unwrap_or_default();
    Parsed { trees, main, variables }
}

fn point(nodes: &mut [Node], names: &[String]) {
    for node in nodes {
        match node {
            Node::Template { name, tree, .. } => *tree = names.iter().position(|known| known == name),
            Node::Branch(branch) => {
                branch.cases.iter_mut().for_each(|(_, body)| point(body, names));
                point(&mut branch.otherwise, names);
            }
            Node::Range(range) => {
                point(&mut range.body, names);
                point(&mut range.otherwise, names);
            }
            Node::Text(_) | Node::Action(_) | Node::Break | Node::Continue => {}
        }
    }
}

/// The construct that contains a pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Command,
    If,
    With,
    Range,
    Template,
    Block,
    Parentheses,
}

impl Context {
    fn name(self) -> &'static str {
        match self {
            Context::Command => "command",
            Context::If => "if",
            Context::With => "with",
            Context::Range => "range",
            Context::Template => "template clause",
            Context::Block => "block clause",
            Context::Parentheses => "parenthesized pipeline",
        }
    }
}

/// An item at the level of text.
enum Item {
    Node(Node),
    End,
    Else,
}

impl Item {
    fn name(&self) -> &'static str {
        match self {
            Item::Node(_) => "action",
            Item::End => "{{end}}",
            Item::Else => "{{else}}",
        }
    }
}

/// An error is the message; its place is the furthest token that was examined, as in Go.
type Parse<T> = Result<T, String>;

struct Parser<'s> {
    name: &'s str,
    source: &'s str,
    functions: &'s FunctionTable,
    tokens: Vec<Token>,
    problem: String,
    next: usize,
    furthest: usize,
    names: Vec<String>,
    /// The variables in scope.
    scope: Vec<VariableId>,
    trees: BTreeMap<String, Vec<Node>>,
    range_depth: usize,
    nesting: usize,
    action_line: u32,
}

impl Parser<'_> {
    // Tokens.

    fn token(&self, index: usize) -> Token {
        let last = self.tokens.len().saturating_sub(1);
        let end = self.source.len();
        let none = Token { kind: Kind::Eof, start: end, end, line: 1 };
        self.tokens.get(index.min(last)).copied().unwrap_or(none)
    }

    fn span_of(&self, index: usize) -> Span {
        let token = self.token(index);
        Span { start: token.start as u32, end: token.end as u32 }
    }

    fn peek(&mut self) -> Token {
        self.furthest = self.furthest.max(self.next);
        self.token(self.next)
    }

    fn take(&mut self) -> Token {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn peek_word(&mut self) -> Token {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_word(&mut self) -> Token {
        self.peek_word();
        self.take()
    }

    fn text(&self, token: Token) -> &str {
        self.source.get(token.start..token.end).unwrap_or_default()
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parse<Token> {
        let token = self.take_word();
        if token.kind == kind { Ok(token) } else { self.unexpected(token, context) }
    }

    fn unexpected<T>(&self, token: Token, context: &str) -> Parse<T> {
        if token.kind == Kind::Error {
            let mut message = self.problem.clone();
            if self.action_line != 0 && self.action_line != token.line {
                let place = format!(" started at {}:{}", self.name, self.action_line);
                message.push_str(if message.ends_with(" action") { "" } else { " in action" });
                message.push_str(&place);
            }
            return Err(message);
        }
        Err(format!("unexpected {} in {context}", self.describe(token)))
    }

    fn describe(&self, token: Token) -> String {
        let text = self.text(token);
        match token.kind {
            Kind::Eof => "EOF".to_owned(),
            kind if kind.is_keyword() => format!("<{text}>"),
            _ if text.len() > 10 => {
                let start: String = text.chars().take(10).collect();
                format!("{}...", quote(&start))
            }
            _ => quote(text),
        }
    }

    // Bodies.

    fn main(&mut self) -> Parse<()> {
        let mut body = Vec::new();
        loop {
            match self.peek().kind {
                Kind::Eof => break,
                Kind::LeftDelim => {
                    let start = self.next;
                    self.take();
                    if self.take_word().kind == Kind::Define {
                        self.definition()?;
                        continue;
                    }
                    self.next = start;
                }
                _ => {}
            }
            match self.text_or_action()? {
                Item::Node(node) => body.push(node),
                item => return Err(format!("unexpected {}", item.name())),
            }
        }
        self.add(self.name.to_owned(), body)
    }

    fn definition(&mut self) -> Parse<()> {
        const CONTEXT: &str = "define clause";
        let token = self.take_word();
        let name = self.template_name(token, CONTEXT)?;
        self.expect(Kind::RightDelim, CONTEXT)?;
        let body = self.separate_body(CONTEXT)?;
        self.add(name, body)
    }

    /// A body that does not see variables or loops of its surroundings.
    fn separate_body(&mut self, context: &str) -> Parse<Vec<Node>> {
        let scope = std::mem::replace(&mut self.scope, vec![0]);
        let range_depth = std::mem::take(&mut self.range_depth);
        let action_line = std::mem::take(&mut self.action_line);
        let (body, end) = self.items()?;
        self.scope = scope;
        self.range_depth = range_depth;
        self.action_line = action_line;
        match end {
            Item::End => Ok(body),
            other => Err(format!("unexpected {} in {context}", other.name())),
        }
    }

    /// An empty body never replaces another one, and two non-empty ones are an error.
    fn add(&mut self, name: String, body: Vec<Node>) -> Parse<()> {
        match self.trees.get(&name) {
            Some(known) if !self.is_empty(known) => {
                if !self.is_empty(&body) {
                    return Err(format!("multiple definition of template {}", quote(&name)));
                }
            }
            _ => {
                self.trees.insert(name, body);
            }
        }
        Ok(())
    }

    fn is_empty(&self, body: &[Node]) -> bool {
        body.iter().all(|node| match node {
            Node::Text(at) => {
                let text = self.source.get(at.start as usize..at.end as usize);
                text.unwrap_or_default().trim().is_empty()
            }
            _ => false,
        })
    }

    /// Everything up to an `end` or `else`, which is returned.
    fn items(&mut self) -> Parse<(Vec<Node>, Item)> {
        self.nesting += 1;
        if self.nesting > NESTING {
            return Err(format!("control structures may be nested at most {NESTING} deep"));
        }
        let mut body = Vec::new();
        while self.peek_word().kind != Kind::Eof {
            match self.text_or_action()? {
                Item::Node(node) => body.push(node),
                item => {
                    self.nesting -= 1;
                    return Ok((body, item));
                }
            }
        }
        Err("unexpected EOF".to_owned())
    }

    fn text_or_action(&mut self) -> Parse<Item> {
        let token = self.take_word();
        match token.kind {
            Kind::Text => {
                Ok(Item::Node(Node::Text(Span { start: token.start as u32, end: token.end as u32 })))
            }
            Kind::LeftDelim => {
                self.action_line = token.line;
                let item = self.action()?;
                self.action_line = 0;
                Ok(item)
            }
            _ => self.unexpected(token, "input"),
        }
    }

    // Actions.

    fn action(&mut self) -> Parse<Item> {
        let first = self.peek_word().kind;
        match first {
            Kind::Block
            | Kind::Break
            | Kind::Continue
            | Kind::Else
            | Kind::End
            | Kind::If
            | Kind::Range
            | Kind::Template
            | Kind::With => {
                self.take();
            }
            _ => {}
        }
        Ok(Item::Node(match first {
            Kind::Block => self.block()?,
            Kind::Break => self.leave("{{break}}", Node::Break)?,
            Kind::Continue => self.leave("{{continue}}", Node::Continue)?,
            Kind::Else => {
                // For `else if` and `else with`, the caller consumes the second word.
                if !matches!(self.peek_word().kind, Kind::If | Kind::With) {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Item::Else);
            }
            Kind::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::End);
            }
            Kind::If => self.branch(Context::If)?,
            Kind::With => self.branch(Context::With)?,
            Kind::Range => self.range()?,
            Kind::Template => self.template()?,
            _ => Node::Action(self.pipeline(Context::Command)?),
        }))
    }

    fn leave(&mut self, name: &str, node: Node) -> Parse<Node> {
        let token = self.take_word();
        if token.kind != Kind::RightDelim {
            return self.unexpected(token, name);
        }
        if self.range_depth == 0 {
            return Err(format!("{name} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn branch(&mut self, context: Context) -> Parse<Node> {
        let scope = self.scope.len();
        let again = if context == Context::If { Kind::If } else { Kind::With };
        let mut cases = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let pipe = self.pipeline(context)?;
            let (body, end) = self.items()?;
            cases.push((pipe, body));
            if matches!(end, Item::End) {
                break;
            }
            if self.peek().kind == again {
                self.take();
                continue;
            }
            otherwise = self.otherwise()?;
            break;
        }
        self.scope.truncate(scope);
        Ok(Node::Branch(Branch { with: context == Context::With, cases, otherwise }))
    }

    fn otherwise(&mut self) -> Parse<Vec<Node>> {
        let (body, end) = self.items()?;
        match end {
            Item::End => Ok(body),
            other => Err(format!("expected end; found {}", other.name())),
        }
    }

    fn range(&mut self) -> Parse<Node> {
        let scope = self.scope.len();
        let pipe = self.pipeline(Context::Range)?;
        self.range_depth += 1;
        let (body, end) = self.items()?;
        self.range_depth -= 1;
        let otherwise = if matches!(end, Item::End) { Vec::new() } else { self.otherwise()? };
        self.scope.truncate(scope);
        Ok(Node::Range(Box::new(Range { pipe, body, otherwise })))
    }

    fn block(&mut self) -> Parse<Node> {
        let token = self.take_word();
        let name = self.template_name(token, Context::Block.name())?;
        let pipe = self.pipeline(Context::Block)?;
        let body = self.separate_body(Context::Block.name())?;
        self.add(name.clone(), body)?;
        Ok(invocation(token, name, Some(pipe)))
    }

    fn template(&mut self) -> Parse<Node> {
        let token = self.take_word();
        let name = self.template_name(token, Context::Template.name())?;
        let pipe = if self.peek_word().kind == Kind::RightDelim {
            self.take();
            None
        } else {
            Some(self.pipeline(Context::Template)?)
        };
        Ok(invocation(token, name, pipe))
    }

    fn template_name(&mut self, token: Token, context: &str) -> Parse<String> {
        match token.kind {
            Kind::String | Kind::RawString => self.string(token),
            _ => self.unexpected(token, context),
        }
    }

    fn string(&self, token: Token) -> Parse<String> {
        literal::string(self.text(token))
    }
}

fn span(start: Token, end: Token) -> Span {
    Span { start: start.start as u32, end: end.end as u32 }
}

fn invocation(at: Token, name: String, pipe: Option<Pipe>) -> Node {
    Node::Template { at: span(at, at), name, tree: None, pipe }
}
