import CDemonstrationGuest
import EventSources
import GuestRunner

extension RunConfiguration {
  /// A run of an image file, or of the demonstration guest; `flat` is where a flat binary goes.
  init(openingImage image: String?, flat: String?) throws {
    guard let image else {
      if flat != nil { throw Failure("--flat: the name of a flat binary was expected with it") }
      // SAFETY: the image is a constant of the executable, as long as its size says.
      let bytes = unsafe UnsafeBufferPointer(
        start: penumbra_demonstration_guest(), count: penumbra_demonstration_guest_size())
      unsafe self.init(image: Array(bytes))
      imageName = "demonstration"
      return
    }
    self.init(image: try MappedFile(image, for: "image").array)
    imageName = image
    if let flat {
      guard let address = try? Quantity.option(flat), let narrow = UInt32(exactly: address) else {
        throw Failure("--flat \(flat): an address below 4GiB was expected")
      }
      kind = .flat(address: narrow)
    }
  }

  /// Sets the guest's memory from an option's text.
  mutating func setMemory(_ text: String) throws {
    let bytes: UInt64
    do {
      bytes = try Quantity.option(text)
    } catch {
      throw Failure("--memory \(text): \(Quantity.expected) was expected")
    }
    let bounds = (1 << 20 as UInt64)...(512 << 30)
    guard bounds ~= bytes, bytes & 0xFFF == 0 else {
      throw Failure("--memory \(text): 1MiB to 512GiB in whole 4 KiB pages was expected")
    }
    memoryBytes = bytes
  }
}
