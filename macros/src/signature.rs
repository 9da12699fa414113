//! The function's signature: which parameter is stored how, and what the task returns.

use syn::{
    Attribute, FnArg, Generics, Ident, Pat, PatType, ReturnType, Safety, Signature, Type, TypePath,
    TypeReference,
};

use crate::errors::Errors;
use crate::types::{self, Place, check_owned, first_argument, last_word, owned_name, plain, show};

/// One argument of the task.
pub(crate) struct Param {
    /// `#[serde(…)]`, moved to the stored field.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) name: Ident,
    /// The type as it was written.
    pub(crate) ty: Type,
    pub(crate) form: Form,
}

/// How an argument is stored and handed to the body.
pub(crate) enum Form {
    /// As written.
    Owned,
    /// As written, and `with` takes anything that turns into it: `String`, `PathBuf`.
    OwnedInto,
    /// `&str`, stored as `String`.
    Str,
    /// `&Path`, stored as `PathBuf`.
    Path,
    /// `&[T]`, stored as `Vec<T>`.
    Slice(Box<Type>),
    /// `Option<&str>`, stored as `Option<String>`.
    OptionStr,
}

/// What the body returns.
pub(crate) struct Output {
    /// The stored value.
    pub(crate) value: Type,
    /// The return type as it was written.
    pub(crate) whole: Type,
    /// Whether `whole` is a `Result` of `value`.
    pub(crate) fallible: bool,
}

/// A signature that can be a task.
pub(crate) struct TaskSignature {
    /// The type of the first parameter where that is `&Context`.
    pub(crate) context: Option<Type>,
    pub(crate) params: Vec<Param>,
    pub(crate) output: Output,
}

impl TaskSignature {
    pub(crate) fn read(sig: &Signature) -> syn::Result<Self> {
        let mut errors = Errors::default();
        check_kind(sig, &mut errors);
        check_generics(&sig.generics, &mut errors);
        let mut context = None;
        let mut params = Vec::new();
        for (position, input) in sig.inputs.iter().enumerate() {
            match input {
                FnArg::Receiver(receiver) => errors.push(
                    receiver,
                    "methods cannot be tasks: move `self` into the arguments or take it from the \
                     context with `ctx.state::<T>()`",
                ),
                FnArg::Typed(input) if position == 0 && is_context(&input.ty) => {
                    refuse_stored_attributes(input, &mut errors);
                    context = Some((*input.ty).clone());
                }
                FnArg::Typed(input)
                    if position == 0 && last_word(&input.ty).is_some_and(|w| w == "Context") =>
                {
                    errors.push(&input.ty, "the context is lent to the body: take `&Context`");
                }
                FnArg::Typed(input) => params.extend(errors.keep(Param::read(input))),
            }
        }
        let output = errors.keep(Output::read(sig));
        errors.finish()?;
        let output = output.expect("a missing output is an error, and errors have returned");
        Ok(Self { context, params, output })
    }
}

fn check_kind(sig: &Signature, errors: &mut Errors) {
    if let Some(word) = &sig.constness {
        errors.push(word, "a task runs later, in a worker: drop `const`");
    }
    if let Safety::Unsafe(word) = &sig.safety {
        errors.push(
            word,
            "nobody is there to keep an unsafe task's promise: write a plain fn with the `unsafe` \
             block inside",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.push(
            abi,
            "a task is called by Rust only: drop `extern`, or call the extern fn from it",
        );
    }
    if let Some(dots) = &sig.variadic {
        errors.push(dots, "a task has a fixed list of arguments: take `&[T]` instead of `...`");
    }
    if let Some(word) = &sig.asyncness
        && !cfg!(feature = "tokio")
    {
        errors.push(word, "async tasks need litework's feature `tokio`; or write a plain fn");
    }
}

fn check_generics(generics: &Generics, errors: &mut Errors) {
    for param in &generics.params {
        match param {
            syn::GenericParam::Lifetime(_) => {
                errors.push(param, "arguments are stored, so they have no lifetime: drop it");
            }
            _ => errors.push(
                param,
                "a task has one set of arguments; write one task per type or take a concrete type",
            ),
        }
    }
    if let Some(clause) = &generics.where_clause {
        errors.push(clause, "a task takes concrete types, which need no `where`: drop the clause");
    }
}

fn is_context(ty: &Type) -> bool {
    match plain(ty) {
        Type::Reference(TypeReference { mutability: None, lifetime: None, elem, .. }) => {
            last_word(elem).is_some_and(|word| word == "Context")
        }
        _ => false,
    }
}

/// Lint levels stay with the body, `#[serde(…)]` belongs to a stored argument.
fn refuse_stored_attributes(input: &PatType, errors: &mut Errors) {
    for attr in &input.attrs {
        if is_serde(attr) {
            errors.push(attr, "the context is not stored, so `#[serde(…)]` means nothing here");
        }
        refuse_cfg(attr, errors);
    }
}

fn refuse_cfg(attr: &Attribute, errors: &mut Errors) {
    if attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr") {
        errors.push(
            attr,
            "a task has the same arguments in every build: put `#[cfg]` on two whole tasks, or \
             take an `Option<T>` with `#[serde(default)]`",
        );
    }
}

pub(crate) fn is_serde(attr: &Attribute) -> bool {
    attr.path().is_ident("serde")
}

impl Param {
    fn read(input: &PatType) -> syn::Result<Self> {
        let mut errors = Errors::default();
        input.attrs.iter().for_each(|attr| refuse_cfg(attr, &mut errors));
        let name = errors.keep(param_name(&input.pat));
        let form = errors.keep(Form::read(&input.ty));
        errors.finish()?;
        Ok(Self {
            attrs: input.attrs.iter().filter(|attr| is_serde(attr)).cloned().collect(),
            name: name.expect("a missing name is an error, and errors have returned"),
            ty: (*input.ty).clone(),
            form: form.expect("a missing form is an error, and errors have returned"),
        })
    }
}

fn param_name(pat: &Pat) -> syn::Result<Ident> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Ok(pat.ident.clone()),
        Pat::Wild(_) => Err(syn::Error::new_spanned(
            pat,
            "arguments are stored by name: name this one, such as `_unused`",
        )),
        _ => Err(syn::Error::new_spanned(
            pat,
            "arguments are stored by name: take one plain name, and take it apart in the body",
        )),
    }
}

impl Form {
    pub(crate) fn borrows(&self) -> bool {
        match self {
            Self::Owned | Self::OwnedInto => false,
            Self::Str | Self::Path | Self::Slice(_) | Self::OptionStr => true,
        }
    }

    fn read(ty: &Type) -> syn::Result<Self> {
        let ty = plain(ty);
        match ty {
            Type::Reference(reference) => Self::read_reference(reference),
            Type::Path(path) if is_option_str(path) => Ok(Self::OptionStr),
            _ => {
                check_owned(ty, Place::Argument)?;
                let into = last_word(ty).is_some_and(|word| word == "String" || word == "PathBuf");
                Ok(if into { Self::OwnedInto } else { Self::Owned })
            }
        }
    }

    fn read_reference(reference: &TypeReference) -> syn::Result<Self> {
        let elem = plain(&reference.elem);
        let word = last_word(elem).unwrap_or_default();
        if word == "Context" {
            let text = "the context comes first, as a plain `&Context`";
            return Err(syn::Error::new_spanned(reference, text));
        }
        if let Some(lifetime) = &reference.lifetime {
            let text = format!("arguments are stored, so they have no lifetime: drop `{lifetime}`");
            return Err(syn::Error::new(lifetime.span(), text));
        }
        match (elem, word.as_str()) {
            _ if reference.mutability.is_some() => {}
            (Type::Slice(slice), _) => {
                check_owned(&slice.elem, Place::Argument)?;
                return Ok(Self::Slice(slice.elem.clone()));
            }
            (_, "str") => return Ok(Self::Str),
            (_, "Path") => return Ok(Self::Path),
            _ => {}
        }
        let owned = owned_name(elem).unwrap_or_else(|| show(elem));
        let text = match word.as_str() {
            _ if reference.mutability.is_some() => {
                format!("nobody would see the change: take `{owned}` by value")
            }
            "String" => "take `&str`, or store it owned: `String`".to_owned(),
            "PathBuf" => "take `&Path`, or store it owned: `PathBuf`".to_owned(),
            "Vec" => match first_argument(elem) {
                Some(item) => format!("take `&[{}]`, or store it owned: `{owned}`", show(item)),
                None => format!("store it owned: take `{owned}`"),
            },
            _ => format!("store it owned: take `{owned}`"),
        };
        Err(syn::Error::new_spanned(reference, text))
    }
}

impl Output {
    fn read(sig: &Signature) -> syn::Result<Self> {
        let ReturnType::Type(_, whole) = &sig.output else {
            let unit: Type = syn::parse_quote!(());
            return Ok(Self { value: unit.clone(), whole: unit, fallible: false });
        };
        let whole = (**whole).clone();
        let fallible = last_word(&whole).is_some_and(|word| word == "Result");
        let value = if fallible {
            first_argument(&whole).cloned().ok_or_else(|| {
                syn::Error::new_spanned(
                    &whole,
                    "a task stores what it returns: name it, as in `Result<()>` or `Result<T>`",
                )
            })?
        } else {
            whole.clone()
        };
        check_owned(&value, Place::Output)?;
        types::check_named(&whole)?;
        Ok(Self { value, whole, fallible })
    }
}

fn is_option_str(path: &TypePath) -> bool {
    let ty = Type::Path(path.clone());
    last_word(&ty).is_some_and(|word| word == "Option")
        && first_argument(&ty).is_some_and(|inner| match plain(inner) {
            Type::Reference(TypeReference { mutability: None, lifetime: None, elem, .. }) => {
                last_word(elem).is_some_and(|word| word == "str")
            }
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The compiler has refusals of its own for this one, so the words are held here.
    #[test]
    fn a_list_of_any_length_is_refused_with_a_slice_to_take() {
        let sig = "unsafe extern \"C\" fn many(first: u32, ...)";
        let sig: Signature = syn::parse_str(sig).expect("the grammar has it");
        let error = TaskSignature::read(&sig).err().expect("it is refused");
        let messages: Vec<String> = error.into_iter().map(|error| error.to_string()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[2].contains("take `&[T]` instead of `...`"), "{messages:?}");
    }
}
