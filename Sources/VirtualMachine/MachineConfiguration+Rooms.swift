import DirectMMU
import GuestMemory
import HardwareModel
import PageTables
public import PagingUnits
import X86Paging

/// The configuration in each room's own words.
extension MachineConfiguration {
  var encoding: EntryEncoding {
    switch vendor {
    case .intel:
      .ept(
        accessedDirty: accessedDirty == .present ? .present : .absent,
        executeOnly: executeOnly == .present ? .present : .absent, physicalBits: physicalBits)
    case .amd: .npt(physicalBits: physicalBits)
    }
  }

  /// The frame behind the last that the guest can address.
  ///
  /// Bounded by the host's MAXPHYADDR and by what a root of this level covers.
  public var frameLimit: GuestFrame {
    let covered = 12 + 9 * Int(rootLevel.depth)
    return GuestFrame(1 << UInt64(min(physicalBits, covered) - 12))
  }

  var directConfiguration: DirectMMU.Configuration {
    DirectMMU.Configuration(
      rootLevel: rootLevel, largestPage: largestPage,
      prefetch: prefetch == .present ? .alignedGroup : .none, frameLimit: frameLimit)
  }

  var slotOptions: GuestMemory.Options {
    var options = GuestMemory.Options()
    options.maximumFrame = GuestFrame(frameLimit.number - 1)
    return options
  }

  var hardwareFeatures: ProcessorFeatures {
    var features = ProcessorFeatures()
    features.vendor = vendor == .intel ? .intel : .amd
    features.physicalBits = UInt64(physicalBits)
    features.guestPhysicalBits = UInt64(guestPhysicalBits)
    features.hasGigabytePages = gigabytePages == .present
    features.hasExecuteOnly = executeOnly == .present
    features.translationSets = translationSets
    features.keepsWalks = keepsWalks == .present
    return features
  }

  /// The guest's processor as far as the format of its tables is concerned.
  var guestPaging: PagingFeatures {
    var features = PagingFeatures(physicalBits: UInt64(guestPhysicalBits))
    features.vendor = vendor == .intel ? .intel : .amd
    features.hasGigabytePages = gigabytePages == .present
    return features
  }
}
