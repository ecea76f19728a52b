//! The trick `image_generation_tool`: a real little picture, coloured by its prompt.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::tool::Tool;
use crate::text::{has_any, hash};

const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;

pub(super) fn is_wanted(words: &[String]) -> bool {
    let wishes = [
        "draw",
        "paint",
        "sketch",
        "image",
        "images",
        "picture",
        "pictures",
        "photo",
        "illustration",
    ];
    has_any(words, &wishes)
}

pub(super) fn generate(prompt: &str) -> (Tool, String) {
    let arguments = json!({"prompt": prompt, "size": format!("{WIDTH}x{HEIGHT}")});
    let name = "image_generation_tool";
    match encode(hash(prompt)) {
        Ok(png) => {
            let revised = format!("A colour gradient that stands for: {prompt}");
            let image =
                json!({"type": "image/png", "title": "Image", "data": BASE64_STANDARD.encode(png)});
            let tool = Tool {
                response: String::new(),
                content: "The picture was generated and is shown to the user.".to_owned(),
                stage_attachments: vec![
                    json!({"title": "Revised prompt", "data": revised}),
                    image.clone(),
                ],
                choice_attachments: vec![image],
                ..Tool::new(name, arguments, &json!({}))
            };
            (tool, "Here is the picture you asked for.".to_owned())
        }
        Err(error) => {
            let failed = Tool::new(name, arguments, &json!({"error": error.to_string()}));
            let tool = Tool {
                failed: true,
                ..failed
            };
            (tool, format!("I could not draw it: {error}."))
        }
    }
}

/// A gradient between two colours taken from the seed.
fn encode(seed: u64) -> Result<Vec<u8>, png::EncodingError> {
    let [_, _, r1, g1, b1, r2, g2, b2] = seed.to_be_bytes();
    let steps = WIDTH + HEIGHT;
    let mix = |from: u8, to: u8, step: u32| {
        let mixed = (u32::from(from) * (steps - step) + u32::from(to) * step) / steps;
        u8::try_from(mixed).unwrap_or(u8::MAX)
    };
    let places = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| x + y));
    let pixels = places.flat_map(|at| [mix(r1, r2, at), mix(g1, g2, at), mix(b1, b2, at)]);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels.collect::<Vec<u8>>())?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_a_real_png() {
        let file = encode(hash("a cat")).unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(&file));
        let reader = decoder.read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (WIDTH, HEIGHT));
        assert_eq!(file, encode(hash("a cat")).unwrap());
        assert_ne!(file, encode(hash("a dog")).unwrap());
    }
}
