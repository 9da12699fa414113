//! The attribute's options: `name = "…"`, `queue = "…"` and so on, as calls on `Options`.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Expr, Ident, LitBool, LitStr, Token};

use crate::values::{self, Span, YEAR_MS};

/// Every key, in the order in which the documentation lists them.
const KEYS: [&str; 22] = [
    "name",
    "aliases",
    "description",
    "called",
    "steps",
    "client",
    "queue",
    "priority",
    "attempts",
    "retry",
    "timeout",
    "expires_after",
    "keep_for",
    "finish_sync",
    "durability",
    "on_commit",
    "at_most_once",
    "unique",
    "exclusive",
    "limit",
    "rate",
    "max_running",
];

/// Delays of a ladder at most, as the library has it.
const LADDER_MAX: usize = 64;

/// Words that one may expect for the same thing, as other task libraries have them.
const OTHER_WORDS: [(&str, &str); 18] = [
    ("title", "called"),
    ("total", "steps"),
    ("total_steps", "steps"),
    ("alias", "aliases"),
    ("doc", "description"),
    ("max_attempts", "attempts"),
    ("max_retries", "attempts"),
    ("retries", "attempts"),
    ("backoff", "retry"),
    ("time_limit", "timeout"),
    ("expires", "expires_after"),
    ("ttl", "expires_after"),
    ("keep", "keep_for"),
    ("retention", "keep_for"),
    ("finish", "finish_sync"),
    ("lock", "exclusive"),
    ("concurrency", "max_running"),
    ("rate_limit", "rate"),
];

/// Options that are said in code, and whether a call may say them too.
const IN_CODE: [(&str, bool); 3] = [("rate_per_key", true), ("follow", true), ("needs", false)];

/// What `#[task(…)]` says.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) aliases: Vec<LitStr>,
    pub(crate) description: Option<String>,
    called: Option<Value>,
    steps: Option<Expr>,
    client: Option<LitStr>,
    queue: Option<LitStr>,
    priority: Option<i64>,
    attempts: Option<i64>,
    retry: Option<Retry>,
    timeout: Option<Span>,
    expires_after: Option<Span>,
    keep_for: Option<Span>,
    finish_sync: Option<bool>,
    durability: Option<Durability>,
    on_commit: Option<bool>,
    at_most_once: Option<bool>,
    unique: Option<Unique>,
    exclusive: Option<Value>,
    limit: Option<Expr>,
    rate: Option<Expr>,
    max_running: Option<i64>,
}

enum Unique {
    Arguments,
    By(Value),
}

/// A pattern, or an expression of the type that the option takes.
enum Value {
    Pattern(LitStr),
    Expr(Box<Expr>),
}

enum Retry {
    Ladder(Vec<Span>),
    Exponential { base: Span, cap: Span },
}

enum Durability {
    Full,
    Normal,
}

impl Parse for Options {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            let key = read_key(input)?;
            let word = key.unraw().to_string();
            if seen.contains(&word) {
                return Err(syn::Error::new(key.span(), format!("`{word}` is given twice")));
            }
            options.read(&key, &word, input)?;
            seen.push(word);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn read_key(input: ParseStream) -> syn::Result<Ident> {
    if input.peek(LitStr) {
        return Err(input.error("a text needs its key: `name = \"…\"`"));
    }
    input.call(Ident::parse_any)
}

impl Options {
    fn read(&mut self, key: &Ident, word: &str, input: ParseStream) -> syn::Result<()> {
        match word {
            "finish_sync" => self.finish_sync = Some(read_flag(input)?),
            "on_commit" => self.on_commit = Some(read_flag(input)?),
            "at_most_once" => self.at_most_once = Some(read_flag(input)?),
            "unique" if !input.peek(Token![=]) => self.unique = Some(Unique::Arguments),
            _ if !KEYS.contains(&word) => return Err(unknown_key(key, word)),
            _ if !input.peek(Token![=]) => {
                let text = format!("`{word}` needs a value: `{word} = …`");
                return Err(syn::Error::new(key.span(), text));
            }
            _ => {
                input.parse::<Token![=]>()?;
                self.read_value(word, input)?;
            }
        }
        Ok(())
    }

    fn read_value(&mut self, word: &str, input: ParseStream) -> syn::Result<()> {
        match word {
            "name" => self.name = Some(values::read_name("name", input)?),
            "aliases" => self.aliases = read_aliases(input)?,
            "description" => self.description = Some(input.parse::<LitStr>()?.value()),
            "called" => self.called = Some(input.parse()?),
            "steps" => self.steps = Some(input.parse()?),
            "client" => self.client = Some(values::read_name("client", input)?),
            "queue" => self.queue = Some(values::read_name("queue", input)?),
            "priority" => self.priority = Some(values::read_number(word, input, -100..=100)?),
            "attempts" => self.attempts = Some(values::read_number(word, input, 1..=1_000)?),
            "retry" => self.retry = Some(input.parse()?),
            "timeout" => self.timeout = Some(read_timeout(input)?),
            "expires_after" => self.expires_after = Some(Span::read_positive(word, input)?),
            "keep_for" => self.keep_for = Some(Span::read(input)?),
            "durability" => {
                let full = read_choice(word, input, ["full", "normal"])? == "full";
                self.durability = Some(if full { Durability::Full } else { Durability::Normal });
            }
            "unique" => self.unique = Some(Unique::By(input.parse()?)),
            "exclusive" => self.exclusive = Some(input.parse()?),
            "limit" => self.limit = Some(input.parse()?),
            "rate" => self.rate = Some(input.parse()?),
            "max_running" => {
                self.max_running = Some(values::read_number(word, input, 1..=1_000_000)?);
            }
            _ => unreachable!("`KEYS` lists the keys that are read here"),
        }
        Ok(())
    }

    /// `::litework::Options::new()` with one call for each option that was given.
    pub(crate) fn expand(&self) -> TokenStream {
        let description = self.description.iter();
        let aliases = &self.aliases;
        let client = self.client.iter();
        let queue = self.queue.iter();
        let priority = self.priority.iter().map(|number| Literal::i64_unsuffixed(*number));
        let attempts = self.attempts.iter().map(|number| Literal::i64_unsuffixed(*number));
        let retry = self.retry.iter().map(Retry::expand);
        let timeout = self.timeout.iter().map(duration);
        let expires_after = self.expires_after.iter().map(duration);
        let keep_for = self.keep_for.iter().map(duration);
        let finish_sync = self.finish_sync.iter();
        let durability = self.durability.iter().map(|durability| match durability {
            Durability::Full => quote!(::litework::Durability::Full),
            Durability::Normal => quote!(::litework::Durability::Normal),
        });
        let on_commit = self.on_commit.iter();
        let at_most_once = self.at_most_once.iter();
        let unique = self.unique.iter().map(|unique| match unique {
            Unique::Arguments => quote!(::litework::Unique::arguments()),
            Unique::By(Value::Pattern(pattern)) => quote!(::litework::Unique::key(#pattern)),
            Unique::By(Value::Expr(value)) => quote!(#value),
        });
        let exclusive = self.exclusive.iter().map(|exclusive| match exclusive {
            Value::Pattern(pattern) => quote!(::litework::Exclusive::lock(#pattern)),
            Value::Expr(value) => quote!(#value),
        });
        let (limit, rate) = (self.limit.iter(), self.rate.iter());
        let max_running = self.max_running.iter().map(|number| Literal::i64_unsuffixed(*number));
        quote! {
            ::litework::Options::new()
                #(.description(#description))*
                #(.alias(#aliases))*
                #(.client(#client))*
                #(.queue(#queue))*
                #(.priority(#priority))*
                #(.attempts(#attempts))*
                #(.retry(#retry))*
                #(.timeout(#timeout))*
                #(.expires_after(#expires_after))*
                #(.keep_for(#keep_for))*
                #(.finish_sync(#finish_sync))*
                #(.durability(#durability))*
                #(.on_commit(#on_commit))*
                #(.at_most_once(#at_most_once))*
                #(.unique(#unique))*
                #(.exclusive(#exclusive))*
                #(.limit(#limit))*
                #(.rate(#rate))*
                #(.max_running(#max_running))*
        }
    }

    /// The methods that tell of a call by its arguments, each of which stands there by its name.
    pub(crate) fn caption(&self, parameters: &[&Ident]) -> TokenStream {
        let quiet = crate::arguments::quiet();
        let bind = quote!(let Self { #(#parameters),* } = self;);
        let called = self.called.iter().map(|called| {
            let name = match called {
                Value::Pattern(text) => quote!(::std::format!(#text)),
                Value::Expr(value) => quote!(::core::convert::Into::into(#value)),
            };
            quote! {
                #quiet
                fn called(&self) -> ::core::option::Option<::std::string::String> {
                    #bind
                    ::core::option::Option::Some(#name)
                }
            }
        });
        let steps = self.steps.iter().map(|steps| {
            quote! {
                #quiet
                fn steps(&self) -> ::core::option::Option<u64> {
                    #bind
                    ::core::option::Option::Some(::litework::__private::Steps::count(&(#steps)))
                }
            }
        });
        quote!(#(#called)* #(#steps)*)
    }

    /// Keys that are made from arguments name those of the function.
    pub(crate) fn check_patterns(&self, parameters: &[String]) -> syn::Result<()> {
        let unique = self.unique.iter().filter_map(|unique| match unique {
            Unique::By(value) => Some(value),
            Unique::Arguments => None,
        });
        for value in unique.chain(&self.exclusive) {
            if let Value::Pattern(pattern) = value {
                values::check_pattern(&pattern.value(), parameters)
                    .map_err(|text| syn::Error::new(pattern.span(), text))?;
            }
        }
        Ok(())
    }
}

impl Parse for Value {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        // A text alone; one with a method behind it is an expression.
        if input.peek(LitStr) && !input.peek2(Token![.]) {
            return Ok(Self::Pattern(input.parse()?));
        }
        Ok(Self::Expr(Box::new(input.parse()?)))
    }
}

fn duration(span: &Span) -> TokenStream {
    let millis = Literal::u64_unsuffixed(span.millis);
    quote!(::std::time::Duration::from_millis(#millis))
}

fn unknown_key(key: &Ident, word: &str) -> syn::Error {
    if let Some((_, on_call)) = IN_CODE.iter().find(|(other, _)| *other == word) {
        let also = if *on_call { format!(", or on a call: `.{word}(…)`") } else { String::new() };
        let place =
            format!("`.register(Definition::from(name).with(|options| options.{word}(…)))`");
        let text = format!("`{word}` is said where the task is registered: {place}{also}");
        return syn::Error::new(key.span(), text);
    }
    let other = OTHER_WORDS.iter().find(|(other, _)| *other == word).map(|(_, key)| *key);
    let hint = match other.or_else(|| values::nearest(word, &KEYS)) {
        Some(known) => format!("did you mean `{known}`? "),
        None => String::new(),
    };
    let keys = KEYS.join(", ");
    syn::Error::new(key.span(), format!("`{word}` is no option of a task; {hint}options: {keys}"))
}

/// A flag such as `on_commit`: alone, or with `= true` or `= false`.
fn read_flag(input: ParseStream) -> syn::Result<bool> {
    match input.parse::<Option<Token![=]>>()? {
        Some(_) => Ok(input.parse::<LitBool>()?.value),
        None => Ok(true),
    }
}

fn read_choice(key: &str, input: ParseStream, words: [&str; 2]) -> syn::Result<String> {
    let literal: LitStr = input.parse()?;
    let value = literal.value();
    if words.contains(&value.as_str()) {
        return Ok(value);
    }
    let text = format!("`{key}` is {value:?}; {:?} or {:?}", words[0], words[1]);
    Err(syn::Error::new(literal.span(), text))
}

fn read_timeout(input: ParseStream) -> syn::Result<Span> {
    let span = Span::read_positive("timeout", input)?;
    if span.millis > YEAR_MS {
        return Err(syn::Error::new(span.at, "`timeout` is at most 365d"));
    }
    Ok(span)
}

fn read_aliases(input: ParseStream) -> syn::Result<Vec<LitStr>> {
    if input.peek(LitStr) {
        return Err(input.error("aliases are a list: `aliases = [\"old.name\"]`"));
    }
    let list;
    syn::bracketed!(list in input);
    let read = |input: ParseStream<'_>| values::read_name("alias", input);
    let names = Punctuated::<LitStr, Token![,]>::parse_terminated_with(&list, read)?;
    let mut aliases: Vec<LitStr> = Vec::new();
    for name in names {
        if aliases.iter().any(|alias| alias.value() == name.value()) {
            let text = format!("alias {:?} is listed twice", name.value());
            return Err(syn::Error::new(name.span(), text));
        }
        aliases.push(name);
    }
    Ok(aliases)
}

impl Parse for Retry {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        const FORMS: &str =
            "`retry` is a list of delays, `[5s, 1m]`, or `exponential(\"1s\", \"1h\")`";
        if input.peek(syn::token::Bracket) {
            return read_ladder(input);
        }
        let word: Ident = input.parse().map_err(|error| syn::Error::new(error.span(), FORMS))?;
        if word != "exponential" || !input.peek(syn::token::Paren) {
            return Err(syn::Error::new(word.span(), FORMS));
        }
        let list;
        syn::parenthesized!(list in input);
        let base = Span::read(&list)?;
        if base.millis == 0 {
            let text = "the first delay is zero, and so would be all: `[0s]` retries at once";
            return Err(syn::Error::new(base.at, text));
        }
        list.parse::<Token![,]>()?;
        let cap = read_delay(&list)?;
        list.parse::<Option<Token![,]>>()?;
        if !list.is_empty() {
            return Err(
                list.error("`exponential` takes two times: the first delay and the longest")
            );
        }
        if cap.millis < base.millis {
            let text = "the longest delay is shorter than the first: `exponential(first, longest)`";
            return Err(syn::Error::new(cap.at, text));
        }
        Ok(Self::Exponential { base, cap })
    }
}

fn read_ladder(input: ParseStream) -> syn::Result<Retry> {
    let list;
    let bracket = syn::bracketed!(list in input);
    let steps = Punctuated::<Span, Token![,]>::parse_terminated_with(&list, read_delay)?;
    if steps.is_empty() {
        let text = "`retry` lists no delay; `[0s]` retries at once, `attempts = 1` never";
        return Err(syn::Error::new(bracket.span.join(), text));
    }
    if steps.len() > LADDER_MAX {
        let text =
            format!("`retry` lists {} delays; at most {LADDER_MAX}, the last repeats", steps.len());
        return Err(syn::Error::new(bracket.span.join(), text));
    }
    Ok(Retry::Ladder(steps.into_iter().collect()))
}

fn read_delay(input: ParseStream) -> syn::Result<Span> {
    let span = Span::read(input)?;
    if span.millis > YEAR_MS {
        return Err(syn::Error::new(span.at, "a retry waits at most 365d"));
    }
    Ok(span)
}

impl Retry {
    fn expand(&self) -> TokenStream {
        match self {
            Self::Ladder(steps) => {
                let steps = steps.iter().map(duration);
                quote!(::litework::Retry::ladder([#(#steps),*]))
            }
            Self::Exponential { base, cap } => {
                let (base, cap) = (duration(base), duration(cap));
                quote!(::litework::Retry::exponential(#base, #cap))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(source: &str) -> String {
        let options: Options = syn::parse_str(source).expect(source);
        options.expand().to_string().replace(' ', "")
    }

    fn refused(source: &str) -> String {
        syn::parse_str::<Options>(source).err().expect(source).to_string()
    }

    #[test]
    fn nothing_given_is_nothing_set() {
        assert_eq!(expanded(""), "::litework::Options::new()");
    }

    #[test]
    fn each_option_is_one_call() {
        let cases = [
            ("description = \"a b\"", ".description(\"ab\")"),
            ("aliases = [\"a\", \"b\",]", ".alias(\"a\").alias(\"b\")"),
            ("client = \"mail\"", ".client(\"mail\")"),
            ("queue = \"images\"", ".queue(\"images\")"),
            ("priority = -7", ".priority(-7)"),
            ("attempts = 4,", ".attempts(4)"),
            ("timeout = 20s", ".timeout(::std::time::Duration::from_millis(20000))"),
            (
                "expires_after = \"1h\"",
                ".expires_after(::std::time::Duration::from_millis(3600000))",
            ),
            ("keep_for = 0s", ".keep_for(::std::time::Duration::from_millis(0))"),
            ("finish_sync", ".finish_sync(true)"),
            ("finish_sync = false", ".finish_sync(false)"),
            ("durability = \"full\"", ".durability(::litework::Durability::Full)"),
            ("durability = \"normal\"", ".durability(::litework::Durability::Normal)"),
            ("on_commit", ".on_commit(true)"),
            ("at_most_once = false, on_commit = true", ".on_commit(true).at_most_once(false)"),
        ];
        for (source, call) in cases {
            assert_eq!(expanded(source), format!("::litework::Options::new(){call}"));
        }
    }

    #[test]
    fn retries_are_a_ladder_or_exponential() {
        let ms = |millis: u32| format!("::std::time::Duration::from_millis({millis})");
        let ladder = format!("ladder([{},{}])", ms(5_000), ms(60_000));
        assert!(expanded("retry = [5s, \"1m\"]").contains(&ladder));
        let exponential = format!("exponential({},{})", ms(1_000), ms(3_600_000));
        assert!(expanded("retry = exponential(\"1s\", 1h)").contains(&exponential));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        assert!(refused("prioritiy = 3").contains("did you mean `priority`?"));
        assert!(refused("max_retries = 3").contains("did you mean `attempts`?"));
        assert!(refused("ttl = 3s").contains("did you mean `expires_after`?"));
        assert!(!refused("colour = 3").contains("did you mean"));
        assert!(
            refused("colour = 3")
                .contains("name, aliases, description, called, steps, client, queue")
        );
    }

    #[test]
    fn refusals_name_the_fix() {
        let cases = [
            ("\"shrink\"", "`name = \"…\"`"),
            ("name = \"a\", name = \"b\"", "given twice"),
            ("aliases = \"a\"", "aliases = [\"old.name\"]"),
            ("aliases = [\"a\", \"a\"]", "listed twice"),
            ("queue = \"a b\"", "1 to 64 characters"),
            ("timeout = 0s", "leave it out"),
            ("timeout = 366d", "at most 365d"),
            ("retry = []", "`[0s]` retries at once"),
            ("retry = 5s", "`[5s, 1m]`"),
            ("retry = linear(1s, 2s)", "`[5s, 1m]`"),
            ("retry = exponential(1h, 1s)", "shorter than the first"),
            ("retry = exponential(1s, 1h, 2)", "takes two times"),
            ("retry = [366d]", "at most 365d"),
            (&format!("retry = [{}]", "1s, ".repeat(65)), "lists 65 delays; at most 64"),
            ("durability = \"none\"", "\"full\" or \"normal\""),
            ("attempts = 0", "1 to 1000"),
        ];
        for (source, part) in cases {
            let message = refused(source);
            assert!(message.contains(part), "{source}: {message}");
        }
    }
}
