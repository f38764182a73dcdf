//! How daemons come to one cluster. So far: members of a static one find out whether they were told the same.

pub mod greeting;
