//! The words of the product as types: names, sets, settings, ranges, formats, `server.conf`, sentences.
//!
//! Pure: no input, no output, no clock, no async. Past the edge of the program no `String` stands
//! for one of these; each has one [`std::str::FromStr`] whose error is the sentence shown to the user.

pub mod clone_link;
pub mod device;
pub mod device_set;
pub mod history;
pub mod image_name;
pub mod log_format;
pub mod mac;
pub mod names;
pub mod platform_lines;
pub mod regex;
pub mod sentence;
pub mod server_conf;
pub mod settings;
pub mod subnet;
pub mod table;

pub use clone_link::CloneLink;
pub use device::{DeviceType, DownCause, Identity, NetSetup, NodeModel, NodeStatus};
pub use device_set::{DeviceFacts, DeviceSet, DeviceSetError};
pub use history::{CheckpointDate, HistoryBound, HistoryError, HistoryRange, RelativeDate};
pub use image_name::{ImageFullName, ImageName};
pub use log_format::{LogFormat, LogFormatError};
pub use mac::Mac;
pub use names::{CheckpointName, DeviceName, UserName};
pub use regex::Regex;
pub use server_conf::ServerConf;
pub use subnet::Subnet;
