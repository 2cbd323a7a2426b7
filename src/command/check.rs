//! Diagnoses each step of the connection to a device.

use std::process::ExitCode;
use std::time::Instant;

use super::output::{print, print_findings};
use crate::backend::Checked;
use crate::check::{Finding, Outcome, STEPS, exit, skip_rest, target};
use crate::cli;
use crate::connect::{Options, Plan};
use crate::error::Result;

pub(super) fn run(args: &cli::Check) -> Result<ExitCode> {
    let runtime = super::runtime()?;
    let findings = runtime.block_on(check(&Options::from(&args.connect)));
    print_findings(&findings, args.json)?;
    let is_well =
        findings.iter().all(|finding| matches!(finding.outcome, Outcome::Pass(_) | Outcome::Absent(_)));
    if is_well && !args.json {
        print("all is well\n")?;
    }
    Ok(exit(&findings).map_or(ExitCode::SUCCESS, Into::into))
}

async fn check(options: &Options) -> Vec<Finding> {
    let since = Instant::now();
    let dialer = match Plan::read(options) {
        Ok(plan) => plan.dialer,
        Err(error) => {
            let mut findings = vec![Finding::new("profile", since, Err(error))];
            skip_rest(&mut findings, &STEPS);
            findings.push(Finding::skipped("target"));
            return findings;
        }
    };
    let mut findings = vec![Finding::new("profile", since, Ok(dialer.describe()))];
    let Checked { findings: found, stream } = dialer.check().await;
    findings.extend(found);
    findings.push(match stream {
        Some(joined) => {
            let since = Instant::now();
            let outcome = target(joined.io, &joined.early, dialer.stream()).await;
            Finding { what: "target".into(), outcome, took: since.elapsed() }
        }
        None => Finding::skipped("target"),
    });
    findings
}
