//! The command's exact words: `cmd/*.trycmd` are sessions as a person sees them.

#[test]
fn the_command_says_exactly_this() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
