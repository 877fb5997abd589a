//! What the agent does and says where a server has no room.

use super::*;

/// The server has no room for one of the files: the job says so and waits, and smaller files go as they appear.
#[test]
fn a_job_for_which_the_server_has_no_room_is_parked_and_says_so() {
    let server = Server::builder().fault(Fault::on("STOR", Action::RefuseAbove(1_000))).start().unwrap();
    let job = "  one: {source: one, server: office, destination: /in, watch: {settle: 300ms}}\n";
    let home = Home::new(&[("office", &server)], job);
    home.write("one/large/large.bin", &[1; 5_000]);
    home.write("one/other/first.txt", b"first");
    let mut agent = home.agent();
    let said = agent.until("The run needs someone to act.");
    assert!(said.contains("delivered=1 "), "{said}");
    assert!(said.contains("the server has no room for 1 file; smaller files are still sent"), "{said}");
    agent.until("The job is tried again.");
    let (_, table, _) = home.run(&["status"]);
    assert!(table.lines().any(|line| line.starts_with("one ") && line.contains("  parked ")), "{table}");
    assert!(
        table.contains("  parked: the server has no room for 1 file; smaller files are still sent"),
        "{table}"
    );
    assert!(table.contains("  tried again "), "{table}");
    let again = home.status()["jobs"][0]["next_try"].clone();
    assert!(again.is_string(), "{again}");

    // A run over the folder that changed ends well, and is no sign that there is room.
    home.write("one/other/small.txt", b"small");
    let well = agent.until("The run ended well.");
    assert!(well.contains("delivered=1"), "{well}");
    let (_, table, _) = home.run(&["status"]);
    assert!(
        table.contains("the server has no room for 1 file") && table.contains("  tried again "),
        "{table}"
    );
    assert!(table.lines().any(|line| line.starts_with("one ") && line.contains("  parked ")), "{table}");
    let status = home.status();
    let cause = status["alerts"][0]["cause"].as_str().unwrap();
    assert!(
        cause.contains("has no room") && cause.contains("an agent tries again within an hour"),
        "{status}"
    );
    assert_eq!(status["jobs"][0]["next_try"], again, "what fits does not put it off");
    agent.end();
    let (_, table, _) = home.run(&["status"]);
    assert!(table.lines().any(|line| line.starts_with("one ") && line.contains("  parked ")), "{table}");
    // The ledger knows of it.
    let (_, shown, _) = home.run(&["history", "one", "--json"]);
    assert!(shown.contains(r#""no_room":1"#), "{shown}");
}
