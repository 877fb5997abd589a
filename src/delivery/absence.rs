//! Whether something is not there. Servers say 550 to what is not there and to what is not allowed
//! alike, so that no answer is enough by itself.

use crate::domain::RemotePath;
use crate::remote::{Answer, Connection, Request};

/// Whether a file that could not be deleted is not there: neither `RNFR`, which some accounts may not
/// use, nor `SIZE` finds it. Anything else means that it may stand.
pub(super) async fn is_gone(connection: &mut Connection, file: &RemotePath) -> bool {
    let looks = [Request::Stands(file.clone()), Request::Size(file.clone())];
    match connection.perform(&looks, 0).await.as_deref() {
        Ok([Answer::Absent(_), size]) => !matches!(size, Answer::Size(_)),
        Ok(_) | Err(_) => false,
    }
}

/// Whether a folder that cannot be listed is not there: some folder above it can be entered, and the
/// next one on the way is not in it. Where none can be, nothing is known.
pub(super) async fn folder_is_gone(connection: &mut Connection, folder: &RemotePath) -> bool {
    let mut below = folder.clone();
    // Ends at the root: each folder is shorter than the one before.
    while let Some(above) = below.folder() {
        let asked = [Request::Enter(below.clone()), Request::Stands(below), Request::Enter(above.clone())];
        match connection.perform(&asked, 0).await.as_deref() {
            Ok([Answer::Absent(_), Answer::Absent(_), Answer::Done]) => return true,
            Ok([Answer::Absent(_), Answer::Absent(_), Answer::Absent(_)]) => below = above,
            Ok(_) | Err(_) => return false,
        }
    }
    false
}
