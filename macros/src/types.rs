//! Types as they were written: what they are called, and whether they can be stored.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{GenericArgument, PathArguments, Type};

const UNNAMED_OUTPUT: &str = "a task stores what it returns: name the type instead of `impl Trait`";

/// Where a type stands.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Argument,
    Output,
}

/// Refuses a return type without a name. What is no output may borrow: the error is not stored.
pub(crate) fn check_named(ty: &Type) -> syn::Result<()> {
    match find_borrow(ty.to_token_stream()) {
        Some((at, Found::Impl)) => Err(syn::Error::new(at, UNNAMED_OUTPUT)),
        _ => Ok(()),
    }
}

/// Refuses a type that borrows or that has no name.
pub(crate) fn check_owned(ty: &Type, place: Place) -> syn::Result<()> {
    let Some((token, found)) = find_borrow(ty.to_token_stream()) else { return Ok(()) };
    let text = match (found, place) {
        (Found::Impl, Place::Argument) => {
            "a task has one set of arguments; take a concrete type instead of `impl Trait`"
                .to_owned()
        }
        (Found::Impl, Place::Output) => UNNAMED_OUTPUT.to_owned(),
        (Found::Borrow, Place::Output) => {
            "a task stores what it returns: return it owned, such as `String` for `&str`".to_owned()
        }
        (Found::Borrow, Place::Argument) => match owned_name(ty) {
            Some(owned) => format!("store it owned: take `{owned}`"),
            None => "store it owned: take `String` for `&str`, `Vec<T>` for `&[T]`, `T` for `&T`"
                .to_owned(),
        },
    };
    Err(syn::Error::new(token, text))
}

#[derive(Clone, Copy)]
enum Found {
    Borrow,
    Impl,
}

fn find_borrow(tokens: TokenStream) -> Option<(proc_macro2::Span, Found)> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Group(group) => find_borrow(group.stream()),
        TokenTree::Punct(punct) if matches!(punct.as_char(), '&' | '\'') => {
            Some((punct.span(), Found::Borrow))
        }
        TokenTree::Ident(ident) if ident == "impl" => Some((ident.span(), Found::Impl)),
        _ => None,
    })
}

/// The owned counterpart of a borrowed type, where there is a usual one.
pub(crate) fn owned_name(ty: &Type) -> Option<String> {
    let ty = plain(ty);
    if let Type::Reference(reference) = ty {
        return owned_name(&reference.elem).or_else(|| Some(show(&reference.elem)));
    }
    if let Type::Slice(slice) = ty {
        let item = owned_name(&slice.elem).unwrap_or_else(|| show(&slice.elem));
        return Some(format!("Vec<{item}>"));
    }
    match last_word(ty)?.as_str() {
        "str" => Some("String".to_owned()),
        "Path" => Some("PathBuf".to_owned()),
        "Cow" => first_argument(ty).and_then(owned_name),
        outer @ ("Option" | "Vec" | "Box") => {
            first_argument(ty).and_then(owned_name).map(|inner| format!("{outer}<{inner}>"))
        }
        _ => None,
    }
}

/// The type without the invisible group that `macro_rules` puts around `$t:ty`, and without `( )`.
pub(crate) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        _ => ty,
    }
}

/// The last segment of a path: `Result` of `std::io::Result<T>`.
pub(crate) fn last_word(ty: &Type) -> Option<String> {
    match plain(ty) {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.unraw().to_string()),
        _ => None,
    }
}

/// The first type among the generic arguments of the last path segment.
pub(crate) fn first_argument(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = plain(ty) else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// A type for a message, without the spaces that tokens are printed with.
pub(crate) fn show(ty: &Type) -> String {
    let mut text = ty.to_token_stream().to_string();
    for (spaced, tight) in [
        (" :: ", "::"),
        (" < ", "<"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
        (" ;", ";"),
    ] {
        text = text.replace(spaced, tight);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Type {
        syn::parse_str(source).expect(source)
    }

    #[test]
    fn types_are_shown_as_people_write_them() {
        for source in ["Vec<u8>", "[u8; 4]", "&[(u8, a::B<C, D>)]", "HashMap<&str, ()>"] {
            assert_eq!(show(&read(source)), source);
        }
    }

    #[test]
    fn the_owned_counterpart_is_known_through_nesting() {
        let cases = [
            ("&str", Some("String")),
            ("&Order", Some("Order")),
            ("&[&std::path::Path]", Some("Vec<PathBuf>")),
            ("Option<Vec<&str>>", Some("Option<Vec<String>>")),
            ("std::borrow::Cow<'static, [u8]>", Some("Vec<u8>")),
            ("HashMap<&str, u8>", None),
            ("u8", None),
        ];
        for (source, owned) in cases {
            assert_eq!(owned_name(&read(source)).as_deref(), owned, "{source}");
        }
    }

    #[test]
    fn borrows_and_unnamed_types_are_found_at_any_depth() {
        for source in ["u8", "Vec<Option<String>>", "Box<dyn Error>", "Result<u8, E>"] {
            assert!(check_owned(&read(source), Place::Argument).is_ok(), "{source}");
        }
        for source in ["&u8", "Vec<(u8, &str)>", "Cow<'static, str>", "Vec<impl Clone>"] {
            assert!(check_owned(&read(source), Place::Output).is_err(), "{source}");
        }
        assert!(check_named(&read("Result<u8, &'static str>")).is_ok());
        assert!(check_named(&read("Result<u8, impl Error>")).is_err());
    }
}
