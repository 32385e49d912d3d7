//! Plants faults in a source file, each behind a switch; with all switches off the file behaves as
//! before.
//!
//! Kinds of faults: a function that returns a constant, a condition that is always or never true,
//! an exchanged operator or method, and a deleted `!`, match arm or statement. Tests, constants,
//! types and debug output are left alone.

use std::{collections::BTreeSet, ops::Range};

use proc_macro2::Span;
use serde::{Deserialize, Serialize};
use syn::{
    Arm, Attribute, BinOp, Block, Expr, ExprBinary, ExprIf, ExprMatch, ExprMethodCall, ExprRepeat, ExprUnary,
    ExprWhile, GenericArgument, ImplItemConst, ImplItemFn, ItemConst, ItemEnum, ItemFn, ItemImpl, ItemMod,
    ItemStatic, Pat, PathArguments, ReturnType, Signature, Stmt, TraitItemConst, TraitItemFn, Type, UnOp,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::Result;

/// One planted fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fault {
    pub(super) number: u32,
    pub(super) package: String,
    pub(super) file: String,
    pub(super) line: usize,
    /// Name of the enclosing function, with its type.
    pub(super) function: String,
    pub(super) kind: String,
    pub(super) what: String,
}

/// Plants all faults of a file except those left out, numbered from `next`; returns the new text.
pub(super) fn plant(
    file: &str,
    text: &str,
    next: &mut u32,
    left_out: &BTreeSet<u32>,
    faults: &mut Vec<Fault>,
) -> Result<String> {
    let parsed = syn::parse_file(text)?;
    let package = file.split('/').next().unwrap_or_default().to_owned();
    let mut planter =
        Planter { text, file, package, next, left_out, faults, within: Vec::new(), insertions: Vec::new() };
    planter.visit_file(&parsed);
    Ok(planter.written())
}

/// Text to insert at one position of the source.
struct Insertion {
    at: usize,
    /// Set if the text closes a range of length `len`.
    ends: bool,
    len: usize,
    text: String,
}

struct Planter<'a> {
    text: &'a str,
    file: &'a str,
    package: String,
    next: &'a mut u32,
    left_out: &'a BTreeSet<u32>,
    faults: &'a mut Vec<Fault>,
    within: Vec<String>,
    insertions: Vec<Insertion>,
}

impl<'a> Planter<'a> {
    fn of(&self, span: Span) -> &'a str {
        &self.text[span.byte_range()]
    }

    /// Numbers a fault; returns the expression that checks whether it is switched on.
    fn switch(&mut self, at: Span, kind: &str, what: String) -> Option<String> {
        if self.within.is_empty() {
            return None;
        }
        let number = *self.next;
        *self.next += 1;
        if self.left_out.contains(&number) {
            return None;
        }
        self.faults.push(Fault {
            number,
            package: self.package.clone(),
            file: self.file.to_owned(),
            line: at.start().line,
            function: self.within.join("::"),
            kind: kind.to_owned(),
            what: what.split_whitespace().collect::<Vec<_>>().join(" "),
        });
        let home = if self.package == "stronghold-sync" { "crate" } else { "::stronghold_sync" };
        Some(format!("{home}::__fault({number})"))
    }

    fn insert(&mut self, at: usize, ends: bool, len: usize, text: String) {
        self.insertions.push(Insertion { at, ends, len, text });
    }

    fn wrap(&mut self, range: Range<usize>, before: String, after: String) {
        let len = range.len();
        self.insert(range.start, false, len, before);
        self.insert(range.end, true, len, after);
    }

    /// Wraps an expression as `{ if ON { instead } else { original } }`.
    fn exchange(&mut self, whole: Span, on: &str, instead: &str) {
        self.wrap(whole.byte_range(), format!("(if {on} {{ {instead} }} else {{ "), " })".into());
    }

    /// Makes a condition always true, or never.
    fn condition(&mut self, condition: &Expr, of_loop: bool) {
        let (span, text) = (condition.span(), self.of(condition.span()));
        if has_let(condition) {
            // The condition binds names, so it can only be switched off.
            if !of_loop && let Some(on) = self.switch(span, "never", format!("if {text}: never")) {
                let range = span.byte_range();
                self.insert(range.start, false, range.len() + 1, format!("!{on} && "));
            }
            return;
        }
        // An endless loop proves nothing.
        let always = if of_loop { None } else { self.switch(span, "always", format!("if {text}: always")) };
        let never = self.switch(span, "never", format!("if {text}: never"));
        let always = always.map(|on| format!("{on} || ")).unwrap_or_default();
        let never = never.map(|on| format!("!{on} && ")).unwrap_or_default();
        if !always.is_empty() || !never.is_empty() {
            let range = span.byte_range();
            let len = range.len() + 1;
            self.insert(range.start, false, len, format!("({always}({never}("));
            self.insert(range.end, true, len, ")))".into());
        }
    }

    /// Makes a function only return a constant.
    fn function(&mut self, name: String, signature: &Signature, block: &Block, walk: impl FnOnce(&mut Self)) {
        if signature.constness.is_some() {
            return;
        }
        self.within.push(name);
        let constants = match &signature.output {
            ReturnType::Default => vec!["()".into()],
            ReturnType::Type(_, kind) => constants(kind),
        };
        let mut text = String::new();
        for constant in constants.iter().filter(|_| !block.stmts.is_empty()) {
            let what = format!("fn {} returns {constant}", signature.ident);
            if let Some(on) = self.switch(signature.ident.span(), "returns", what) {
                text += &format!(" if {on} {{ return {constant}; }} ");
            }
        }
        if !text.is_empty() {
            self.insert(block.brace_token.span.open().byte_range().end, true, 0, text);
        }
        walk(self);
        self.within.pop();
    }

    /// Returns the source with all insertions. At one position, closing texts come first, the inner
    /// before the outer, then opening ones, the outer before the inner.
    fn written(mut self) -> String {
        self.insertions.sort_by_key(|put| {
            let inner_first = if put.ends { put.len } else { usize::MAX - put.len };
            (put.at, !put.ends, inner_first)
        });
        let (mut written, mut at) = (String::new(), 0);
        for put in &self.insertions {
            written += &self.text[at..put.at];
            written += &put.text;
            at = put.at;
        }
        written + &self.text[at..]
    }
}

impl<'ast> Visit<'ast> for Planter<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_const(&mut self, _: &'ast ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast ItemStatic) {}
    fn visit_item_enum(&mut self, _: &'ast ItemEnum) {}
    fn visit_impl_item_const(&mut self, _: &'ast ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast TraitItemConst) {}
    fn visit_type(&mut self, _: &'ast Type) {}

    /// Visits only the guards of patterns.
    fn visit_pat(&mut self, pattern: &'ast Pat) {
        if let Pat::Guard(guarded) = pattern {
            self.condition(&guarded.guard, false);
            self.visit_expr(&guarded.guard);
        }
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast ExprRepeat) {
        self.visit_expr(&repeat.expr); // its length is a constant
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let of_trait = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        let of_trait = of_trait.map(|last| last.ident.to_string());
        let is_shown = of_trait.as_deref().is_some_and(|name| ["Debug", "Display"].contains(&name));
        if is_shown || is_of_tests(&item.attrs) {
            return;
        }
        let own: String = self.of(item.self_ty.span()).split_whitespace().collect();
        self.within.push(of_trait.map_or_else(|| own.clone(), |name| format!("<{own} as {name}>")));
        visit::visit_item_impl(self, item);
        self.within.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_of_tests(&item.attrs) {
            let name = item.sig.ident.to_string();
            self.function(name, &item.sig, &item.block, |planter| planter.visit_block(&item.block));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_of_tests(&item.attrs) {
            let name = item.sig.ident.to_string();
            self.function(name, &item.sig, &item.block, |planter| planter.visit_block(&item.block));
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            let name = item.sig.ident.to_string();
            self.function(name, &item.sig, block, |planter| planter.visit_block(block));
        }
    }

    fn visit_expr_if(&mut self, whole: &'ast ExprIf) {
        self.condition(&whole.cond, false);
        visit::visit_expr_if(self, whole);
    }

    fn visit_expr_while(&mut self, whole: &'ast ExprWhile) {
        self.condition(&whole.cond, true);
        visit::visit_expr_while(self, whole);
    }

    /// Deletes each arm that a catch-all arm follows.
    fn visit_expr_match(&mut self, whole: &'ast ExprMatch) {
        let last = whole.arms.iter().position(takes_everything).unwrap_or_default();
        for Arm { pat, .. } in &whole.arms[..last] {
            if matches!(pat, Pat::Guard(_)) {
                continue; // its guard can be switched off
            }
            let span = pat.span();
            if let Some(on) = self.switch(span, "arm", format!("match arm {}: deleted", self.of(span))) {
                self.insert(span.byte_range().end, true, 1, format!(" if !{on} "));
            }
        }
        visit::visit_expr_match(self, whole);
    }

    fn visit_expr_binary(&mut self, whole: &'ast ExprBinary) {
        let other = exchanged_operator(&whole.op);
        if let Some(other) = other.filter(|_| !has_let(&whole.left) && !has_let(&whole.right)) {
            let (left, right) = (self.of(whole.left.span()), self.of(whole.right.span()));
            let what = format!("{other} instead of {}", self.of(whole.span()));
            if let Some(on) = self.switch(whole.op.span(), "operator", what) {
                self.exchange(whole.span(), &on, &format!("{left} {other} {right}"));
            }
        }
        visit::visit_expr_binary(self, whole);
    }

    fn visit_expr_unary(&mut self, whole: &'ast ExprUnary) {
        if matches!(whole.op, UnOp::Not(_)) && !has_let(&whole.expr) {
            let what = format!("no ! in {}", self.of(whole.span()));
            if let Some(on) = self.switch(whole.span(), "not", what) {
                self.exchange(whole.span(), &on, self.of(whole.expr.span()));
            }
        }
        visit::visit_expr_unary(self, whole);
    }

    fn visit_expr_method_call(&mut self, whole: &'ast ExprMethodCall) {
        if let Some(other) = exchanged_method(&whole.method.to_string()) {
            let what = format!("{other} instead of {}", self.of(whole.span()));
            if let Some(on) = self.switch(whole.method.span(), "method", what) {
                let (all, name) = (whole.span().byte_range(), whole.method.span().byte_range());
                let (before, after) = (&self.text[all.start..name.start], &self.text[name.end..all.end]);
                self.exchange(whole.span(), &on, &format!("{before}{other}{after}"));
            }
        }
        visit::visit_expr_method_call(self, whole);
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Expr(expression, Some(_)) = statement
            && is_deletable(expression)
        {
            let span = statement.span();
            if let Some(on) = self.switch(span, "deleted", format!("without {}", self.of(span))) {
                self.wrap(span.byte_range(), format!("if !{on} {{ "), " }".into());
            }
        }
        visit::visit_stmt(self, statement);
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    let words = |attribute: &Attribute| attribute.path().segments.iter().any(|part| part.ident == "test");
    let configured = |attribute: &Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    };
    attributes.iter().any(|attribute| words(attribute) || configured(attribute))
}

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        Expr::Paren(inner) => has_let(&inner.expr),
        Expr::Unary(unary) => has_let(&unary.expr),
        _ => false,
    }
}

fn takes_everything(arm: &Arm) -> bool {
    match &arm.pat {
        Pat::Wild(_) => true,
        Pat::Ident(name) => {
            name.subpat.is_none() && name.ident.to_string().starts_with(|letter: char| letter.is_lowercase())
        }
        _ => false,
    }
}

fn is_deletable(expression: &Expr) -> bool {
    match expression {
        Expr::MethodCall(_) | Expr::Call(_) | Expr::Try(_) | Expr::Await(_) | Expr::Assign(_) => true,
        Expr::Binary(binary) => matches!(
            binary.op,
            BinOp::AddAssign(_)
                | BinOp::SubAssign(_)
                | BinOp::MulAssign(_)
                | BinOp::BitXorAssign(_)
                | BinOp::BitOrAssign(_)
        ),
        _ => false,
    }
}

fn exchanged_operator(operator: &BinOp) -> Option<&'static str> {
    Some(match operator {
        BinOp::Eq(_) => "!=",
        BinOp::Ne(_) => "==",
        BinOp::Lt(_) => "<=",
        BinOp::Le(_) => "<",
        BinOp::Gt(_) => ">=",
        BinOp::Ge(_) => ">",
        BinOp::And(_) => "||",
        BinOp::Or(_) => "&&",
        BinOp::Add(_) => "-",
        BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Rem(_) => "+",
        BinOp::Div(_) => "*",
        BinOp::BitXor(_) | BinOp::BitAnd(_) => "|",
        BinOp::BitOr(_) => "&",
        _ => return None,
    })
}

fn exchanged_method(method: &str) -> Option<&'static str> {
    Some(match method {
        "min" => "max",
        "max" => "min",
        "any" => "all",
        "all" => "any",
        "is_some" => "is_none",
        "is_none" => "is_some",
        "is_ok" => "is_err",
        "is_err" => "is_ok",
        "saturating_sub" => "saturating_add",
        _ => return None,
    })
}

/// Returns constants that a function of this type may return instead of its result.
fn constants(kind: &Type) -> Vec<String> {
    let path = match kind {
        Type::Tuple(tuple) if tuple.elems.is_empty() => return vec!["()".into()],
        Type::Path(path) => path,
        _ => return Vec::new(),
    };
    let Some(last) = path.path.segments.last() else { return Vec::new() };
    let some = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    match last.ident.to_string().as_str() {
        "bool" => some(&["true", "false"]),
        "usize" | "u64" | "u32" | "u16" | "u8" | "i64" | "i32" => some(&["0", "1"]),
        "String" => some(&["String::new()"]),
        "Vec" => some(&["Vec::new()"]),
        "Option" => some(&["None"]),
        "Result" => {
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Vec::new() };
            let Some(GenericArgument::Type(good)) = arguments.args.first() else { return Vec::new() };
            constants(good).into_iter().map(|constant| format!("Ok({constant})")).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(text: &str) -> (String, Vec<Fault>) {
        let (mut next, mut faults) = (1, Vec::new());
        let written = plant("stronghold-vault/src/x.rs", text, &mut next, &BTreeSet::new(), &mut faults);
        (written.unwrap(), faults)
    }

    fn kinds(text: &str) -> Vec<String> {
        planted(text).1.into_iter().map(|fault| fault.kind).collect()
    }

    #[test]
    fn each_kind_is_planted() {
        assert_eq!(kinds("fn f() -> bool { g(); true }"), ["returns", "returns", "deleted"]);
        assert_eq!(kinds("fn f() -> T { if a { b } else { c } }"), ["always", "never"]);
        assert_eq!(kinds("fn f() -> T { if let Some(a) = b { a } else { c } }"), ["never"]);
        assert_eq!(
            kinds("fn f() -> T { match a { 1 => b, x if y => c, _ => d } }"),
            ["arm", "always", "never"]
        );
        assert_eq!(kinds("fn f() -> T { x(a <= b, !c, d.is_some()) }"), ["operator", "not", "method"]);
        assert_eq!(kinds("fn f() -> T { while a { b += 1; } T }"), ["never", "deleted"]);
    }

    #[test]
    fn what_is_planted_is_rust_and_says_where_it_is() {
        let text = "impl A {\n    fn f(&self) -> Result<u8> {\n        if a && !b { g(c + 1); }\n        Ok(1)\n    }\n}\n";
        let (written, faults) = planted(text);
        syn::parse_file(&written).unwrap();
        let places: BTreeSet<(&str, usize)> =
            faults.iter().map(|fault| (fault.function.as_str(), fault.line)).collect();
        assert_eq!(places, BTreeSet::from([("A::f", 2), ("A::f", 3)]));
        assert!(faults.iter().all(|fault| written.contains(&format!("__fault({})", fault.number))));
    }

    #[test]
    fn tests_constants_and_what_is_left_out_are_not_touched() {
        for text in [
            "const A: bool = 1 < 2;",
            "#[cfg(test)] mod tests { fn f() -> bool { a() } }",
            "#[test] fn f() { assert(a == b); }",
            "impl fmt::Display for A { fn fmt(&self) -> bool { a == b } }",
            "const fn f() -> bool { a == b }",
        ] {
            assert_eq!(planted(text).0, text);
        }
        let (mut next, mut faults) = (1, Vec::new());
        let text = "fn f() -> bool { a == b }";
        let all = BTreeSet::from([1, 2, 3]);
        assert_eq!(plant("stronghold-vault/src/x.rs", text, &mut next, &all, &mut faults).unwrap(), text);
        assert_eq!((next, faults.len()), (4, 0));
    }
}
