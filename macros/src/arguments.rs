//! The stored arguments: a hidden struct with one field for each parameter.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::{Type, Visibility, parse_quote};

use crate::signature::{Form, Param};

/// The struct that is stored as one JSON object by parameter name. It can be copied and shown
/// where all arguments can be.
pub(crate) fn expand(args: &Ident, vis: &Visibility, params: &[Param]) -> TokenStream {
    let quiet = quiet();
    let attrs = params.iter().map(|param| &param.attrs);
    let names: Vec<&Ident> = params.iter().map(|param| &param.name).collect();
    let types: Vec<Type> = params.iter().map(Param::stored_type).collect();
    let shown = args.to_string();
    let words = names.iter().map(|name| name.unraw().to_string());
    // A bound without a variable must hold, so a type that cannot be copied would be an error;
    // the lifetime makes the bound one that may fail, and then only the `impl` is not there.
    quote! {
        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #quiet
        #[derive(
            ::litework::__private::serde::Serialize,
            ::litework::__private::serde::Deserialize,
        )]
        #[serde(crate = "::litework::__private::serde")]
        #vis struct #args { #(#(#attrs)* #names: #types),* }

        #quiet
        impl ::core::clone::Clone for #args
        where
            #(for<'any> #types: ::core::clone::Clone,)*
        {
            fn clone(&self) -> Self {
                Self { #(#names: ::core::clone::Clone::clone(&self.#names)),* }
            }
        }

        #quiet
        impl ::core::fmt::Debug for #args
        where
            #(for<'any> #types: ::core::fmt::Debug,)*
        {
            fn fmt(&self, to: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                to.debug_struct(#shown) #(.field(#words, &self.#names))* .finish()
            }
        }
    }
}

/// Lints that would tell the user to change code that only this crate can change.
pub(crate) fn quiet() -> TokenStream {
    quote! {
        #[allow(
            dead_code, deprecated, non_snake_case, unused_variables,
            clippy::all, clippy::pedantic, clippy::nursery
        )]
    }
}

impl Param {
    fn stored_type(&self) -> Type {
        let ty = &self.ty;
        match &self.form {
            Form::Owned | Form::OwnedInto => parse_quote!(#ty),
            Form::Str => parse_quote!(::std::string::String),
            Form::Path => parse_quote!(::std::path::PathBuf),
            Form::Slice(item) => parse_quote!(::std::vec::Vec<#item>),
            Form::OptionStr => parse_quote!(::core::option::Option<::std::string::String>),
        }
    }

    /// The parameter of `with`.
    pub(crate) fn taken(&self) -> TokenStream {
        let Self { name, ty, form, .. } = self;
        match form {
            Form::Owned | Form::OptionStr => quote!(#name: #ty),
            Form::OwnedInto | Form::Str | Form::Path | Form::Slice(_) => {
                let stored = self.stored_type();
                quote!(#name: impl ::core::convert::Into<#stored>)
            }
        }
    }

    /// The field of the arguments, from the parameter of `with`.
    pub(crate) fn made(&self) -> TokenStream {
        let name = &self.name;
        match &self.form {
            Form::Owned => quote!(#name),
            Form::OptionStr => quote!(#name: #name.map(::std::string::String::from)),
            Form::OwnedInto | Form::Str | Form::Path | Form::Slice(_) => {
                quote!(#name: ::core::convert::Into::into(#name))
            }
        }
    }

    /// The argument of the body, from the field.
    pub(crate) fn handed(&self) -> TokenStream {
        let name = &self.name;
        match &self.form {
            Form::Owned | Form::OwnedInto => quote!(self.#name),
            Form::Str | Form::Path | Form::Slice(_) => quote!(&self.#name),
            Form::OptionStr => quote!(self.#name.as_deref()),
        }
    }
}
