//! The expansion: a unit struct with the function's name, and one hidden block with the rest.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{GenericArgument, Lifetime, PathArguments, Type};

use crate::arguments::{self, quiet};
use crate::errors::Errors;
use crate::function::Function;
use crate::options::Options;
use crate::signature::{Param, TaskSignature};
use crate::values;

/// A task whose every part was checked.
struct Task {
    function: Function,
    signature: TaskSignature,
    options: Options,
    /// The name under which it is stored.
    name: String,
    /// The hidden struct of its arguments.
    args: Ident,
}

/// What `#[task(attr)] item` becomes.
pub(crate) fn expand(attr: TokenStream, item: &TokenStream) -> TokenStream {
    let function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = error.into_compile_error();
            return quote!(#error #item);
        }
    };
    // The plain function stays, so that the refusal is the only message about it.
    let untouched = function.untouched();
    match Task::read(attr, function) {
        Ok(task) => task.expand(),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #untouched)
        }
    }
}

impl Task {
    fn read(attr: TokenStream, function: Function) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let options = errors.keep(syn::parse2::<Options>(attr));
        let signature = errors.keep(TaskSignature::read(&function.sig));
        let name = options.as_ref().and_then(|options| errors.keep(name(options, &function)));
        errors.finish()?;
        let read = options.zip(signature).zip(name);
        let ((mut options, signature), name) = read.expect("without an error all parts were read");
        let parameters: Vec<String> =
            signature.params.iter().map(|param| param.name.unraw().to_string()).collect();
        options.check_patterns(&parameters)?;
        options.description = options.description.or_else(|| function.summary());
        let args = format_ident!("__{}_args", function.sig.ident.unraw());
        Ok(Self { function, signature, options, name, args })
    }

    fn expand(&self) -> TokenStream {
        let Function { cfg, public, private, vis, body, .. } = &self.function;
        let sig = self.function.body_signature();
        let ident = &sig.ident;
        let args = arguments::expand(&self.args, vis, &self.signature.params);
        let with = self.with();
        let call = self.plain_call();
        let task = self.task();
        let definition = self.definition();
        // Inside the block the function keeps its name, so that spans and backtraces show it.
        quote! {
            #(#cfg)*
            #(#public)*
            #[allow(non_camel_case_types)]
            #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
            #vis struct #ident;

            #(#cfg)*
            const _: () = {
                // `const` is refused here, so nobody should be told to write it.
                #[allow(clippy::missing_const_for_fn)]
                #(#private)*
                #sig #body

                #args
                #with
                #call
                #task
                #definition
            };
        }
    }

    fn with(&self) -> TokenStream {
        let Self { args, name, .. } = self;
        let quiet = quiet();
        let vis = &self.function.vis;
        let ident = &self.function.sig.ident;
        let params = self.signature.params.iter().map(Param::taken);
        let fields = self.signature.params.iter().map(Param::made);
        quote! {
            #quiet
            impl #ident {
                /// The name under which this task is stored.
                #vis const NAME: &'static str = #name;

                /// This task with these arguments: a call that can be started, now or later.
                #vis fn with(#(#params),*) -> ::litework::Call<#args> {
                    ::litework::Call::new(#args { #(#fields),* })
                }
            }
        }
    }

    /// Makes `shrink(..)` run the body directly.
    fn plain_call(&self) -> TokenStream {
        let quiet = quiet();
        let ident = &self.function.sig.ident;
        let (pointer, target, helper) = if self.is_async() {
            self.boxed_call()
        } else {
            let types = self.parameter_types();
            let whole = &self.signature.output.whole;
            (quote!(fn(#(#types),*) -> #whole), quote!(#ident), TokenStream::new())
        };
        quote! {
            #helper

            #[doc(hidden)]
            #quiet
            impl ::core::ops::Deref for #ident {
                type Target = #pointer;

                fn deref(&self) -> &Self::Target {
                    const BODY: #pointer = #target;
                    &BODY
                }
            }
        }
    }

    /// The type, the name and the text of a function that boxes the body's future, which no
    /// function pointer can name.
    fn boxed_call(&self) -> (TokenStream, TokenStream, TokenStream) {
        let quiet = quiet();
        let ident = &self.function.sig.ident;
        let whole = &self.signature.output.whole;
        let here = Lifetime::new("'litework", Span::mixed_site());
        let mut types = self.parameter_types();
        for ty in &mut types {
            set_lifetime(ty, &here);
        }
        let borrows = self.signature.context.is_some()
            || self.signature.params.iter().any(|param| param.form.borrows());
        let (generic, binder, lifetime) = if borrows {
            (quote!(<#here>), quote!(for<#here>), here)
        } else {
            (quote!(), quote!(), Lifetime::new("'static", Span::mixed_site()))
        };
        let names: Vec<Ident> = (0..types.len())
            .map(|index| Ident::new(&format!("p{index}"), Span::mixed_site()))
            .collect();
        let future = quote! {
            ::core::pin::Pin<::std::boxed::Box<
                dyn ::core::future::Future<Output = #whole> + ::core::marker::Send + #lifetime
            >>
        };
        let helper = quote! {
            #quiet
            fn __boxed #generic (#(#names: #types),*) -> #future {
                ::std::boxed::Box::pin(#ident(#(#names),*))
            }
        };
        (quote!(#binder fn(#(#types),*) -> #future), quote!(__boxed), helper)
    }

    fn task(&self) -> TokenStream {
        let Self { args, name, options, .. } = self;
        let quiet = quiet();
        let parameters: Vec<&Ident> = self.signature.params.iter().map(|p| &p.name).collect();
        let caption = options.caption(&parameters);
        let options = options.expand();
        let ident = &self.function.sig.ident;
        let output = &self.signature.output;
        let value = &output.value;
        let ctx = Ident::new("ctx", Span::mixed_site());
        let context = self.signature.context.iter().map(|_| quote!(#ctx));
        let handed = context.chain(self.signature.params.iter().map(Param::handed));
        let mut run = quote!(#ident(#(#handed),*));
        if self.is_async() {
            run = quote!(::litework::Context::block_on(#ctx, #run));
        }
        if output.fallible {
            // A missing conversion is reported at the written return type.
            let at = Span::mixed_site().located_at(output.whole.span());
            run = quote_spanned!(at=> #run?);
        }
        quote! {
            #quiet
            impl ::litework::Task for #args {
                const NAME: &'static str = #name;
                type Output = #value;

                fn options() -> ::litework::Options {
                    #options
                }

                #caption

                fn run(self, #ctx: &::litework::Context) -> ::litework::Result<#value> {
                    ::core::result::Result::Ok(#run)
                }
            }
        }
    }

    fn definition(&self) -> TokenStream {
        let quiet = quiet();
        let args = &self.args;
        let ident = &self.function.sig.ident;
        let submit = cfg!(feature = "inventory").then(|| {
            quote! {
                ::litework::__private::inventory::submit! {
                    ::litework::__private::Entry(|| ::litework::Definition::of::<#args>())
                }
            }
        });
        quote! {
            #quiet
            impl ::core::convert::From<#ident> for ::litework::Definition {
                fn from(_: #ident) -> Self {
                    ::litework::Definition::of::<#args>()
                }
            }

            #quiet
            impl ::litework::TaskRef for #ident {
                type Task = #args;
            }

            #submit
        }
    }

    fn is_async(&self) -> bool {
        self.function.sig.asyncness.is_some()
    }

    /// The types of all parameters of the body, as written.
    fn parameter_types(&self) -> Vec<Type> {
        let params = self.signature.params.iter().map(|param| &param.ty);
        self.signature.context.iter().chain(params).cloned().collect()
    }
}

/// The name that is given, or else the function's, checked like one that is given.
fn name(options: &Options, function: &Function) -> syn::Result<String> {
    let ident = &function.sig.ident;
    let name = match &options.name {
        Some(name) => name.value(),
        None => ident.unraw().to_string(),
    };
    values::check_name("the function's name", &name).map_err(|text| {
        let text = format!("{text}; or give another: `#[task(name = \"…\")]`");
        syn::Error::new(ident.span(), text)
    })?;
    match options.aliases.iter().find(|alias| alias.value() == name) {
        Some(alias) => {
            let text = format!("alias {name:?} is the task's own name; drop it");
            Err(syn::Error::new(alias.span(), text))
        }
        None => Ok(name),
    }
}

/// Gives the borrowed forms a lifetime by name.
fn set_lifetime(ty: &mut Type, lifetime: &Lifetime) {
    match ty {
        Type::Group(group) => set_lifetime(&mut group.elem, lifetime),
        Type::Paren(paren) => set_lifetime(&mut paren.elem, lifetime),
        Type::Reference(reference) => reference.lifetime = Some(lifetime.clone()),
        Type::Path(path) => {
            let arguments = path.path.segments.iter_mut().map(|segment| &mut segment.arguments);
            for arguments in arguments {
                let PathArguments::AngleBracketed(arguments) = arguments else { continue };
                for argument in &mut arguments.args {
                    if let GenericArgument::Type(ty) = argument {
                        set_lifetime(ty, lifetime);
                    }
                }
            }
        }
        _ => {}
    }
}
