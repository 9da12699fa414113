//! Reads sources as text: a small scanner that tells code, strings and comments apart.

/// One string literal and the code just before it.
#[derive(Debug)]
pub(crate) struct Literal {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) before: String,
}

/// One source file, taken apart. Lines are counted from 0 here and shown from 1.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) path: String,
    /// Code with strings and comments blanked out, a line each.
    pub(crate) code: Vec<String>,
    /// Comments, a line each.
    pub(crate) comments: Vec<String>,
    pub(crate) literals: Vec<Literal>,
    /// Which lines belong to `#[cfg(test)]` items.
    pub(crate) in_test: Vec<bool>,
    pub(crate) first_line: String,
}

/// Where the scanner is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Code,
    LineComment,
    BlockComment(usize),
    Text { raw: Option<usize> },
}

impl Source {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            first_line: text.lines().next().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        source.scan(&text.chars().collect::<Vec<_>>());
        source.mark_tests();
        source
    }

    fn scan(&mut self, text: &[char]) {
        let mut place = Place::Code;
        let (mut at, mut code, mut comment) = (0, String::new(), String::new());
        while at < text.len() {
            let rest = &text[at..];
            if rest[0] == '\n' {
                self.code.push(std::mem::take(&mut code));
                self.comments.push(std::mem::take(&mut comment));
                if place == Place::LineComment {
                    place = Place::Code;
                }
                if let (Place::Text { .. }, Some(literal)) = (place, self.literals.last_mut()) {
                    literal.text.push('\n');
                }
                at += 1;
                continue;
            }
            let (next, taken) = step(place, rest, &code);
            match (place, next) {
                (Place::Code, Place::Code) if taken == 1 => code.push(rest[0]),
                (Place::Code, Place::Code) => code.push_str("' '"),
                (Place::Code, Place::Text { .. }) => {
                    self.begin_literal(&code);
                    code.push('"');
                }
                (Place::Text { .. }, Place::Text { .. }) => {
                    if let Some(literal) = self.literals.last_mut() {
                        literal.text.extend(&rest[..taken]);
                    }
                }
                (Place::Text { .. }, _) => code.push('"'),
                _ => comment.extend(&rest[..taken]),
            }
            place = next;
            at += taken;
        }
        self.code.push(code);
        self.comments.push(comment);
    }

    fn begin_literal(&mut self, code: &str) {
        let earlier = self.code.last().map(|line| line.trim()).unwrap_or_default();
        let before = if code.trim().is_empty() { earlier } else { code.trim() };
        let before = before.trim_end_matches(['r', '#', 'b']).to_owned();
        self.literals.push(Literal { line: self.code.len(), text: String::new(), before });
    }

    /// Marks each item under `#[cfg(test)]`, to its closing brace or semicolon.
    fn mark_tests(&mut self) {
        self.in_test = vec![self.path.ends_with("/tests.rs"); self.code.len()];
        let mut line = 0;
        while line < self.code.len() {
            if self.code[line].trim_start().starts_with("#[cfg(test)]") {
                let last = self.end_of_item(line);
                self.in_test[line..=last].fill(true);
                line = last;
            }
            line += 1;
        }
    }

    /// The line on which the item that starts here ends.
    pub(crate) fn end_of_item(&self, first: usize) -> usize {
        let (mut round, mut curly) = (0_i32, 0_i32);
        for (line, code) in self.code.iter().enumerate().skip(first) {
            for c in code.chars() {
                match c {
                    '(' | '[' => round += 1,
                    ')' | ']' => round -= 1,
                    '{' => curly += 1,
                    '}' => curly -= 1,
                    _ => {}
                }
                if round == 0 && curly == 0 && matches!(c, ';' | '}') {
                    return line;
                }
            }
        }
        self.code.len() - 1
    }

    pub(crate) fn report(&self, line: usize, rule: &str) -> String {
        format!("{}:{}: {rule}", self.path, line + 1)
    }

    /// Lines of code outside tests.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let shipped = |(line, _): &(usize, &String)| !self.in_test[*line];
        self.code.iter().enumerate().filter(shipped).map(|(line, code)| (line, code.as_str()))
    }
}

/// What stands at the start of `rest`, and how many characters it takes.
fn step(place: Place, rest: &[char], code: &str) -> (Place, usize) {
    let starts = |text: &str| rest.iter().copied().take(text.len()).eq(text.chars());
    match place {
        Place::LineComment => (Place::LineComment, 1),
        Place::BlockComment(1) if starts("*/") => (Place::Code, 2),
        Place::BlockComment(depth) if starts("*/") => (Place::BlockComment(depth - 1), 2),
        Place::BlockComment(depth) if starts("/*") => (Place::BlockComment(depth + 1), 2),
        Place::Text { raw: None } if rest[0] == '\\' && rest.len() > 1 && rest[1] != '\n' => {
            (place, 2)
        }
        Place::Text { raw: None } if rest[0] == '"' => (Place::Code, 1),
        Place::Text { raw: Some(hashes) }
            if rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes =>
        {
            (Place::Code, 1 + hashes)
        }
        Place::BlockComment(_) | Place::Text { .. } => (place, 1),
        Place::Code if starts("//") => (Place::LineComment, 2),
        Place::Code if starts("/*") => (Place::BlockComment(1), 2),
        Place::Code if rest[0] == '"' => (Place::Text { raw: raw_hashes(code) }, 1),
        Place::Code if rest[0] == '\'' => (Place::Code, character(rest)),
        Place::Code => (Place::Code, 1),
    }
}

/// How many hashes a raw string that begins after this code has; `None` where it is not raw.
fn raw_hashes(code: &str) -> Option<usize> {
    let before = code.trim_end_matches('#');
    let mut last = before.chars().rev();
    let raw = last.next() == Some('r')
        && last.next().is_none_or(|c| c == 'b' || !(c.is_alphanumeric() || c == '_'));
    raw.then_some(code.len() - before.len())
}

/// The length of a character literal, or 1 for the quote of a lifetime.
fn character(rest: &[char]) -> usize {
    match rest {
        [_, '\\', ..] => rest.iter().skip(3).position(|c| *c == '\'').map_or(1, |at| at + 4),
        [_, _, '\'', ..] => 3,
        _ => 1,
    }
}

/// The names that stand as words in a text, with where each begins.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.split(move |c| !is_name(c))
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

pub(crate) fn has_word(text: &str, wanted: &str) -> bool {
    words(text).any(|(_, word)| word == wanted)
}
