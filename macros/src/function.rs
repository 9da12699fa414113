//! The function under the attribute: its attributes sorted, its body left as tokens.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, FnArg, Lit, Meta, Signature, Token, Visibility};

use crate::signature;

/// A function whose body is not parsed: the compiler does that, with its own messages.
pub(crate) struct Function {
    /// `#[cfg(…)]`: goes on everything that is generated.
    pub(crate) cfg: Vec<Attribute>,
    /// Documentation and deprecation: goes on the public item.
    pub(crate) public: Vec<Attribute>,
    /// Everything else: stays on the body.
    pub(crate) private: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis: Visibility = input.parse()?;
        if !starts_a_function(input) {
            return Err(not_a_function(input));
        }
        let sig: Signature = input.parse()?;
        let body = match input.parse()? {
            TokenTree::Group(group) if group.delimiter() == proc_macro2::Delimiter::Brace => group,
            other => return Err(syn::Error::new(other.span(), "a task needs a body: `{ … }`")),
        };
        let (cfg, attrs): (Vec<_>, Vec<_>) =
            attrs.into_iter().partition(|attr| leads_to(attr, &["cfg"]));
        let (public, private) =
            attrs.into_iter().partition(|attr| leads_to(attr, &["doc", "deprecated"]));
        Ok(Self { cfg, public, private, vis, sig, body })
    }
}

fn starts_a_function(input: ParseStream) -> bool {
    let ahead = input.fork();
    while ahead.peek(Token![const])
        || ahead.peek(Token![async])
        || ahead.peek(Token![unsafe])
        || ahead.peek(Token![extern])
    {
        if ahead.parse::<TokenTree>().is_err() {
            return false;
        }
        // The name of the foreign convention, as in `extern "C"`.
        if ahead.parse::<Option<syn::LitStr>>().is_err() {
            return false;
        }
    }
    ahead.peek(Token![fn])
}

fn not_a_function(input: ParseStream) -> syn::Error {
    input.error(
        "`#[task]` goes on a fn; for a type of your own, write `impl litework::Task for …` by hand",
    )
}

/// Whether the attribute, or what `cfg_attr` makes of it, is one of these.
fn leads_to(attr: &Attribute, names: &[&str]) -> bool {
    let known = |path: &syn::Path| names.iter().any(|name| path.is_ident(name));
    if known(attr.path()) {
        return true;
    }
    if !attr.path().is_ident("cfg_attr") {
        return false;
    }
    let parse = Punctuated::<Meta, Token![,]>::parse_terminated;
    attr.parse_args_with(parse)
        .is_ok_and(|metas| metas.iter().skip(1).any(|meta| known(meta.path())))
}

impl Function {
    /// The first paragraph of the documentation, on one line.
    pub(crate) fn summary(&self) -> Option<String> {
        let lines: Vec<String> = self.public.iter().filter_map(doc_text).collect();
        let text = lines.join("\n");
        let paragraph: Vec<&str> = text
            .lines()
            .map(str::trim)
            .skip_while(|line| line.is_empty())
            .take_while(|line| !line.is_empty())
            .collect();
        (!paragraph.is_empty()).then(|| paragraph.join(" "))
    }

    /// The signature as the body has it: `#[serde(…)]` belongs to the stored arguments, and
    /// `#[cfg_attr(…)]` on a parameter is refused.
    pub(crate) fn body_signature(&self) -> Signature {
        let mut sig = self.sig.clone();
        for input in &mut sig.inputs {
            if let FnArg::Typed(input) = input {
                input
                    .attrs
                    .retain(|attr| !signature::is_serde(attr) && !attr.path().is_ident("cfg_attr"));
            }
        }
        sig
    }

    /// The function as if it had no `#[task]`: what is left of a refused one.
    pub(crate) fn untouched(&self) -> TokenStream {
        let Self { cfg, public, private, vis, body, .. } = self;
        let sig = self.body_signature();
        quote!(#(#cfg)* #(#public)* #(#private)* #vis #sig #body)
    }
}

fn doc_text(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attr.meta else { return None };
    match &meta.value {
        Expr::Lit(value) if meta.path.is_ident("doc") => match &value.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Function {
        syn::parse_str(source).expect(source)
    }

    #[test]
    fn the_summary_is_the_first_paragraph() {
        let source = "///\n/// One line\n/// and another.\n///\n/// More.\nfn f() {}";
        assert_eq!(read(source).summary().as_deref(), Some("One line and another."));
        assert_eq!(read("#[doc(hidden)] fn f() {}").summary(), None);
    }

    #[test]
    fn attributes_are_sorted_by_where_they_belong() {
        let function = read(
            "#[cfg(unix)] #[cfg_attr(unix, cfg(test))] #[doc = \"d\"] #[deprecated] \
             #[cfg_attr(unix, doc = \"d\")] #[inline] #[cfg_attr(unix, inline)] fn f() {}",
        );
        assert_eq!((function.cfg.len(), function.public.len(), function.private.len()), (2, 3, 2));
    }

    #[test]
    fn the_body_is_not_parsed() {
        assert_eq!(read("fn f() { not rust ! }").body.stream().to_string(), "not rust !");
        assert!(syn::parse_str::<Function>("fn f();").is_err());
        assert!(syn::parse_str::<Function>("const LIMIT: u32 = 1;").is_err());
    }
}
