//! What `#[task]` accepts, what it refuses and with which words, as the compiler says it.

#[test]
fn what_is_accepted_and_what_is_refused() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass_*.rs");
    cases.compile_fail("tests/ui/fail_*.rs");
    if cfg!(feature = "tokio") {
        cases.pass("tests/ui/async_pass.rs");
        cases.compile_fail("tests/ui/async_fail.rs");
    } else {
        cases.compile_fail("tests/ui/async_without_tokio.rs");
    }
}
