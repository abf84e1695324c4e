// What the declarations of this library import, without this library: whatever fails here is not its fault.
import '@aws-sdk/client-kms'
import 'mongoose'
