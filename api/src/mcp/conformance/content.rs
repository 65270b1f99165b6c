//! Tools that always answer the same.

use super::text;
use serde_json::{Value, json};

/// One red pixel.
pub(super) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/// A WAV file of no samples.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/// The result; none when the tool is another kind.
pub(super) fn call(name: &str) -> Option<Value> {
    let picture = || json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    let resource = |uri: &str, kind: &str, text: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}});
    Some(match name {
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => json!({"content": [picture()]}),
        "test_audio_content" => {
            json!({"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]})
        }
        "test_embedded_resource" => {
            let text = "This is an embedded resource content.";
            json!({"content": [resource("test://embedded-resource", "text/plain", text)]})
        }
        "test_multiple_content_types" => {
            let data = json!({"test": "data", "value": 123}).to_string();
            json!({"content": [
                {"type": "text", "text": "Multiple content types test:"},
                picture(),
                resource("test://mixed-content-resource", "application/json", &data),
            ]})
        }
        "test_error_handling" => {
            let mut result = text("This tool intentionally returns an error for testing");
            result["isError"] = true.into();
            result
        }
        "test_trigger_tool_change" | "test_trigger_prompt_change" => text("Clients that listen are told."),
        "json_schema_2020_12_tool" | "test_header_parameter" => {
            text("The schema of this tool is what is tested.")
        }
        _ => return None,
    })
}
